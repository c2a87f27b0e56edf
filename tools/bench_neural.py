"""What a neural language model costs in the beam search, and what it brings.

    python tools/bench_neural.py [--manifest dev.jsonl] [--model default] [--decoding lstm]

Rows: the search without it; with it inside the beam, 16 wide and as wide as tuned; and the 100
best of the search without it reordered.  The acoustic model's own time is not counted.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from pruning_loss import dev_set
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

import asr
from asr.cli import run_program
from asr.config import DecodingConfig, load_decoding
from asr.decode.beam import BeamOptions
from asr.decode.decoder import Decoder, build_decoder
from asr.evaluate import scored_references
from asr.metrics import score
from asr.model_folders import find_decoding, find_model
from asr.readme_table import write_table
from asr.recipe_programs import describe_machine
from lm.neural_model import NeuralLanguageModel
from lm.rescoring import score_sequences

__all__ = ["main"]

MARKS = ("<!-- bench_neural -->", "<!-- end of bench_neural -->")
HEAD = """\
| decoding | beam | WER | x real time | words that the LSTM read per second of audio |
|---|---|---|---|---|
"""


class Material(NamedTuple):
    """What is decoded."""

    recordings: list[Tensor]
    durations: list[float]
    references: list[str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--manifest", type=Path, help="default: dev-100spk below ASR_DATA")
    parser.add_argument("--model", default="default")
    parser.add_argument("--decoding", default="lstm", help="one with a neural model")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--readme", type=Path, help="also write the table there")
    arguments = parser.parse_args(argv)
    return run_program("bench_neural", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    torch.set_num_threads(arguments.threads)
    config = load_decoding(find_decoding(find_model(arguments.model), arguments.decoding))
    transcriber = asr.load(arguments.model, "cpu", decoding="greedy", n_views=config.views)
    recognizer = transcriber.recognizer
    utterances = dev_set(arguments.manifest)
    material = Material(
        [transcriber.log_probs(utterance) for utterance in utterances],
        [utterance.duration for utterance in utterances],
        scored_references(utterances, recognizer.tokenizer),
    )

    def build(**values: object) -> Decoder:
        other = DecodingConfig.model_validate(config.model_dump() | values)
        return build_decoder(other, recognizer.tokenizer, recognizer.frame_seconds)

    fused, plain = build(), build(neural="", gamma=0.0, alpha=config.alpha + config.gamma)
    rows = [
        _row("n-gram", plain, plain.search.options, material, 0),
        *(
            _row("LSTM inside the beam", fused, options, material, _steps(fused, options, material))
            for options in (
                replace(fused.search.options, width=16),
                fused.search.options,
            )
        ),
    ]
    rescored = build(rescore=True)
    steps = _steps_of_rescoring(rescored, config.neural, material)
    rows.append(_row("100 best reordered", rescored, rescored.search.options, material, steps))
    minutes = sum(material.durations) / 60
    text = HEAD + "\n".join(rows)
    text += (
        f"\n\n{len(utterances)} utterances ({minutes:.1f} minutes), {arguments.threads} threads of "
        f"{describe_machine()}; load average {os.getloadavg()[0]:.1f}."
    )
    print(text)
    if arguments.readme:
        write_table(arguments.readme, text, MARKS)
    return 0


def _row(
    name: str, decoder: Decoder, options: BeamOptions, material: Material, n_steps: int
) -> str:
    chosen = decoder.with_options(options)
    chosen.decode(material.recordings[:2], material.durations[:2])
    start = time.perf_counter()
    found = chosen.decode(material.recordings, material.durations)
    seconds = time.perf_counter() - start
    wer = score(material.references, [each[0].text for each in found], n_bootstrap=0).wer
    audio = sum(material.durations)
    steps = f"{n_steps / audio:.1f}" if n_steps else ""
    return f"| {name} | {options.width} | {wer:.2%} | {audio / seconds:.0f} | {steps} |"


def _steps(decoder: Decoder, options: BeamOptions, material: Material) -> int:
    lengths = torch.tensor([len(frames) for frames in material.recordings])
    padded = pad_sequence(material.recordings, batch_first=True)
    found = decoder.search.with_options(options).search(padded, lengths)
    return sum(each.n_neural_steps for each in found)


def _steps_of_rescoring(decoder: Decoder, folder: str, material: Material) -> int:
    neural = NeuralLanguageModel.load(folder)
    shares = decoder.search.word_shares(neural)
    options = replace(decoder.search.options, n_best=100)
    found = decoder.with_options(options).decode(material.recordings, material.durations)
    texts = [each.text for hypotheses in found for each in hypotheses]
    return score_sequences(neural, [shares.encode(text.split())[0] for text in texts]).n_steps


if __name__ == "__main__":
    sys.exit(main())
