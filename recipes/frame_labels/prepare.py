"""Manifests of a few utterances of every speaker, training and test apart.

    python recipes/frame_labels/prepare.py DATA OUTPUT --train train-clean-5 --dev dev-clean \\
        --test test-clean --each 4 1 3

writes OUTPUT/train.jsonl, OUTPUT/dev.jsonl and OUTPUT/test.jsonl.  DATA holds the named subsets of
LibriSpeech; the audio may be in any format that `asr prepare` reads.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from asr.cli import run_program
from asr.errors import ManifestError
from asr.manifest import Utterance, write_manifest
from asr.prepare import from_librispeech

__all__ = ["main", "some_of_each"]

PARTS = ("train", "dev", "test")


def some_of_each(
    utterances: Sequence[Utterance], n_each: int, n_speakers: int = 0
) -> list[Utterance]:
    """Return the first utterances, by name, of each of the first speakers.

    Args:
        utterances: to choose from.
        n_each: of every speaker at most.
        n_speakers: how many speakers; 0 for all.
    """
    by_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in sorted(utterances, key=lambda u: u.id):
        by_speaker[str(utterance.speaker)].append(utterance)
    speakers = sorted(by_speaker)[: n_speakers or None]
    return [utterance for speaker in speakers for utterance in by_speaker[speaker][:n_each]]


def _run(arguments: argparse.Namespace) -> int:
    heard: set[str | None] = set()
    for part, n_each in zip(PARTS, arguments.each, strict=True):
        found = from_librispeech(arguments.data / getattr(arguments, part))
        chosen = some_of_each(found, n_each, arguments.speakers)
        speakers = {utterance.speaker for utterance in chosen}
        if shared := heard & speakers:
            raise ManifestError(
                f"--{part} {getattr(arguments, part)}: {len(shared)} of its speakers are in an "
                "earlier part; choose subsets that are apart"
            )
        heard |= speakers
        write_manifest(arguments.output / f"{part}.jsonl", chosen)
        minutes = sum(utterance.duration for utterance in chosen) / 60
        print(f"{part}: {len(chosen)} utterances, {minutes:.1f} min, {len(speakers)} speakers")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Manifests of a few utterances of each speaker.")
    parser.add_argument("data", type=Path, help="the folder with the subsets")
    parser.add_argument("output", type=Path, help="receives PART.jsonl")
    for part in PARTS:
        parser.add_argument(f"--{part}", metavar="SUBSET", required=True)
    parser.add_argument(
        "--each", metavar="N", nargs=3, type=int, required=True, help="utterances of a speaker"
    )
    parser.add_argument("--speakers", metavar="N", type=int, default=0, help="of each part; 0: all")
    arguments = parser.parse_args(argv)
    return run_program("prepare", lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
