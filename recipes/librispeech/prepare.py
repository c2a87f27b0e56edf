"""Manifests of LibriSpeech subsets, with training and test kept apart.

    python recipes/librispeech/prepare.py DATA OUTPUT \\
        --train train-clean-100 --dev dev-clean --test test-clean test-other [--also mine.jsonl]

writes OUTPUT/train-clean-100.jsonl and so on, and OUTPUT/mine.jsonl, which is one more test set.
The audio may be FLAC, as published, or in any format that `asr prepare` reads.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from asr.errors import AsrError, ManifestError
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.prepare import from_librispeech

__all__ = ["main"]


def read_subset(folder: Path, n_shortest: int) -> list[Utterance]:
    """Return the utterances of a subset, all or the shortest ones.

    Args:
        folder: with SPEAKER/CHAPTER below it.
        n_shortest: how many; 0 for all.
    """
    utterances = from_librispeech(folder)
    if not n_shortest:
        return utterances
    return sorted(utterances, key=lambda u: (u.duration, u.id))[:n_shortest]


def check_apart(training: Sequence[Utterance], held_out: Sequence[Utterance], name: str) -> None:
    """Refuse a set that is held out but shares a speaker with the training sets.

    Raises:
        ManifestError: naming the speakers.
    """
    shared = {u.speaker for u in training} & {u.speaker for u in held_out} - {None}
    if shared:
        shown = ", ".join(sorted(str(s) for s in shared)[:5])
        raise ManifestError(
            f"{name}: {len(shared)} of its speakers ({shown}, ...) are in the training sets; "
            "figures on it would mean nothing, choose sets that are apart"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Manifests of LibriSpeech subsets.")
    parser.add_argument("data", type=Path, help="the folder with the subsets")
    parser.add_argument("output", type=Path, help="receives SUBSET.jsonl")
    for name in ("train", "dev", "test"):
        parser.add_argument(f"--{name}", metavar="SUBSET", nargs="+", required=True)
    parser.add_argument(
        "--also", metavar="MANIFEST", type=Path, nargs="+", default=[], help="further test sets"
    )
    parser.add_argument(
        "--n-shortest", metavar="N", type=int, default=0, help="of each, for a smoke test"
    )
    arguments = parser.parse_args(argv)
    names = [*arguments.train, *arguments.dev, *arguments.test]
    try:
        subsets = {n: read_subset(arguments.data / n, arguments.n_shortest) for n in names}
        training = [u for name in arguments.train for u in subsets[name]]
        also = {path.stem: read_manifest(path) for path in arguments.also}
        if taken := sorted(set(also) & set(subsets)):
            raise ManifestError(f"--also {taken[0]}.jsonl: a subset has this name; rename the file")
        subsets |= also
        for name in (*arguments.dev, *arguments.test, *also):
            check_apart(training, subsets[name], name)
        for name, utterances in subsets.items():
            write_manifest(arguments.output / f"{name}.jsonl", utterances)
            hours = sum(u.duration for u in utterances) / 3600
            n_speakers = len({u.speaker for u in utterances})
            print(f"{name}: {len(utterances):,} utterances, {hours:.2f} h, {n_speakers} speakers")
    except AsrError as error:
        print(f"prepare: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
