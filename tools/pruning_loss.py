"""What the beam search loses by each thing that makes it fast, on real emissions.

    python tools/pruning_loss.py [--manifest dev.jsonl] [--model characters]

The search of the model's decoding.toml beside the same search without one of: thresholds and
skipped frames; merged prefixes; the narrow beam.  Scores are compared as the searches give them.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import asr
from asr.cli import run_program
from asr.decode.beam import BeamHypothesis, BeamOptions
from asr.errors import ConfigError
from asr.evaluate import scored_references
from asr.manifest import Utterance, read_manifest
from asr.metrics import score
from asr.prepare import from_librispeech

__all__ = ["dev_set", "main"]

HEAD = """\
| search | beam | WER | same text as the default | its score above the default's |
|---|---|---|---|---|
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--manifest", type=Path, help="default: dev-100spk below ASR_DATA")
    parser.add_argument("--model", default="characters")
    arguments = parser.parse_args(argv)
    return run_program("pruning_loss", lambda: _run(arguments.manifest, arguments.model))


def _run(manifest: Path | None, model: str) -> int:
    transcriber = asr.load(model, "cpu")
    decoder = transcriber.decoder
    if decoder is None:
        raise ConfigError(f"{model}: decodes greedily; a model with a decoding.toml is needed")
    utterances = dev_set(manifest)
    recordings = [transcriber.log_probs(utterance) for utterance in utterances]
    references = scored_references(utterances, transcriber.recognizer.tokenizer)
    durations = [utterance.duration for utterance in utterances]

    def decode(options: BeamOptions) -> list[BeamHypothesis]:
        found = decoder.with_options(options).decode(recordings, durations)
        return [hypotheses[0] for hypotheses in found]

    default = replace(decoder.search.options, n_best=1)
    unlimited = replace(default, score_threshold=np.inf, token_threshold=-np.inf)
    searches = {
        "the default": default,
        "without thresholds, no frame skipped": replace(unlimited, blank_threshold=1.0),
        "without merging": replace(default, merge=False),
        "four times the beam": replace(default, width=4 * default.width),
    }
    baseline = decode(default)
    print(HEAD, end="")
    for name, options in searches.items():
        found = decode(options)
        wer = score(references, [each.text for each in found], n_bootstrap=0).wer
        same = np.mean([a.text == b.text for a, b in zip(found, baseline, strict=True)])
        above = np.mean([a.score - b.score for a, b in zip(found, baseline, strict=True)])
        print(f"| {name} | {options.width} | {wer:.2%} | {same:.0%} | {above:+.4f} |", flush=True)
    return 0


def dev_set(manifest: Path | None) -> list[Utterance]:
    """Return the utterances of a manifest, or of dev-100spk below ASR_DATA.

    Raises:
        ConfigError: neither is named.
    """
    if manifest:
        return read_manifest(manifest)
    data = os.environ.get("ASR_DATA")
    if not data:
        raise ConfigError("neither --manifest nor the variable ASR_DATA names a dev set")
    return from_librispeech(Path(data) / "LibriSpeech/dev-100spk")


if __name__ == "__main__":
    sys.exit(main())
