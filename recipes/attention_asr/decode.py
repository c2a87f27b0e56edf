"""Recognise the utterances of a manifest, and draw where the speller looks.

    python recipes/attention_asr/decode.py MODEL MANIFEST.jsonl OUTPUT.jsonl
    python recipes/attention_asr/decode.py MODEL MANIFEST.jsonl OUTPUT.jsonl --also 0 1 \\
        --draw attention.png

OUTPUT.jsonl is what `asr evaluate --output` writes, found with the weight of CTC that the model was
trained with; OUTPUT-0.jsonl and OUTPUT-1.jsonl are of attention alone and of CTC alone.  A .json
beside each says how it was decoded, and in how many utterances the frame that the speller looks at
most goes forward with every token.  The picture is of the utterance with the most words, the first
of several.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from las import ListenAttendSpell
from torch import Tensor

from asr.checkpoint import write_json
from asr.cli import run_program
from asr.data import FeatureSource
from asr.errors import ConfigError, DependencyError
from asr.evaluate import Evaluation, scored_references, write_hypotheses
from asr.manifest import Utterance, read_manifest
from asr.models.recognizer import Recognizer
from asr.world import select_device

__all__ = ["Found", "draw_attention", "is_monotonic", "main", "recognize"]


@dataclass(frozen=True)
class Found:
    """What was found in one utterance.

    Attributes:
        index: which one.
        features: as they were heard, (T, F).
        tokens: of the text.
        weights: where the speller looked as it wrote them and the end, (U + 1, T').
    """

    index: int
    features: Tensor
    tokens: tuple[int, ...]
    weights: Tensor


@torch.inference_mode()
def recognize(
    las: ListenAttendSpell,
    source: FeatureSource,
    *,
    width: int,
    ctc_weights: Sequence[float],
    batch_size: int = 32,
) -> Iterator[tuple[Found, ...]]:
    """Yield what is found in each utterance, with each weight; those of similar length together."""
    order = sorted(range(len(source.utterances)), key=lambda i: source.utterances[i].duration)
    for first in range(0, len(order), batch_size):
        group = order[first : first + batch_size]
        features = [source.features(index) for index in group]
        memory = las.hear(features)
        columns = []
        for weight in ctc_weights:
            tokens = las.spell(memory, width=width, ctc_weight=weight)
            column = zip(group, features, tokens, las.align(memory, tokens), strict=True)
            columns.append([Found(*found) for found in column])
        yield from zip(*columns, strict=True)


def is_monotonic(weights: Tensor) -> bool:
    """Whether the frame with the greatest weight (U, T') goes forward with every token."""
    peaks = weights.argmax(1)
    return bool((peaks.diff() > 0).all())


def draw_attention(found: Found, recognizer: Recognizer, path: Path) -> None:
    """Draw the features, and below them a row of attention weights for each token.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("--draw needs matplotlib: pip install matplotlib") from None
    symbols = recognizer.tokenizer.symbols
    spoken = len(found.features) * recognizer.extractor.hop_seconds
    labels = [*(symbols[token].strip("\u2581") for token in found.tokens), "end"]
    duration = found.weights.shape[1] * recognizer.frame_seconds
    figure = Figure(figsize=(8, 2.5 + 0.25 * len(labels)), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, len(labels) / 3 + 1])
    sizes = {"aspect": "auto", "interpolation": "nearest"}
    above.imshow(
        found.features.float().T, origin="lower", cmap="magma",
        extent=(0, spoken, 0, found.features.shape[1]), **sizes,
    )  # fmt: skip
    above.set(ylabel="mel band")
    below.imshow(
        found.weights, cmap="gray_r", vmin=0, vmax=1,
        extent=(0, duration, len(labels) - 0.5, -0.5), **sizes,
    )  # fmt: skip
    below.set_yticks(range(len(labels)), labels=labels)
    below.set(xlabel="seconds", xlim=(0, duration))
    figure.savefig(path, dpi=80)


def _write(
    path: Path, las: ListenAttendSpell, found: Sequence[Found], utterances: Sequence[Utterance]
) -> str:
    """Write what was found with one weight; return a line about it."""
    tokenizer = las.recognizer.tokenizer
    evaluation = Evaluation(
        utterances=tuple(utterances),
        references=tuple(scored_references(utterances, tokenizer)),
        hypotheses=tuple(tokenizer.decode(each.tokens) for each in found),
        errors=(),
        audio_seconds=sum(utterance.duration for utterance in utterances),
        seconds=0.0,
    )
    write_hypotheses(path, evaluation)
    result = evaluation.score(n_bootstrap=0)
    return f"{path}: WER {result.wer:.2%} of {result.n_words:,} words"


def _run(arguments: argparse.Namespace) -> int:
    output: Path = arguments.output
    las = ListenAttendSpell.load(arguments.model, select_device(arguments.device))
    weights = {output: las.config.ctc_weight}
    weights |= {output.with_stem(f"{output.stem}-{w:g}"): w for w in arguments.also}
    for weight in weights.values():
        if not 0 <= weight <= 1:
            raise ConfigError(f"--also {weight}: numbers from 0 to 1 are needed")
    utterances = read_manifest(arguments.manifest)
    source = FeatureSource(utterances, las.recognizer.extractor)
    rows = recognize(las, source, width=arguments.width, ctc_weights=tuple(weights.values()))
    columns = zip(*sorted(rows, key=lambda row: row[0].index), strict=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    for (path, weight), found in zip(weights.items(), columns, strict=True):
        n_monotonic = sum(is_monotonic(each.weights[:-1]) for each in found)
        facts = {"ctc_weight": weight, "width": arguments.width, "n_monotonic": n_monotonic}
        write_json(path.with_suffix(".json"), facts)
        print(
            f"{_write(path, las, found, utterances)} with CTC weight {weight:g}; the attention "
            f"goes forward in {n_monotonic} of {len(found)} utterances"
        )
        if arguments.draw and path == output:
            longest = max(found, key=lambda each: len(utterances[each.index].text.split()))
            draw_attention(longest, las.recognizer, arguments.draw)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Recognise the utterances of a manifest.")
    parser.add_argument("model", type=Path, help="model or experiment folder")
    parser.add_argument("manifest", type=Path, help="what to recognise")
    parser.add_argument("output", type=Path, help="receives what was found, JSON lines")
    parser.add_argument("--width", type=int, default=8, help="of the beam (default: 8)")
    parser.add_argument(
        "--also", type=float, nargs="+", default=[], metavar="W", help="further weights of CTC"
    )
    parser.add_argument("--draw", type=Path, metavar="PNG", help="picture of the attention")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    arguments = parser.parse_args(argv)
    return run_program("decode", lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
