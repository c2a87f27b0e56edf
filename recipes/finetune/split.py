"""A manifest's utterances as train, dev and test: 80, 10 and 10 per cent of its texts.

    python recipes/finetune/split.py EXP/manifests/all.jsonl EXP/manifests [--seed 0]

Utterances of the same text, said again or by someone else, come into the same part, so that no
sentence of the test was trained on.
"""

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from asr.cli import run_program
from asr.errors import ManifestError
from asr.manifest import Utterance, read_manifest, write_manifest

__all__ = ["main", "split"]

PARTS = ("train", "dev", "test")
SHARES = (0.8, 0.1, 0.1)


def split(utterances: Sequence[Utterance], seed: int) -> dict[str, list[Utterance]]:
    """Return the three parts, each in the order of the manifest.

    The texts are shuffled and dealt out one by one, each to the part that lacks most of its share
    of utterances.

    Raises:
        ManifestError: a part would be empty.
    """
    by_text: dict[str, list[int]] = defaultdict(list)
    for number, utterance in enumerate(utterances):
        by_text[" ".join(utterance.text.upper().split())].append(number)
    groups = list(by_text.values())
    random.Random(seed).shuffle(groups)
    parts: dict[str, list[int]] = {name: [] for name in PARTS}
    for group in groups:
        lacks = {
            name: share * len(utterances) - len(parts[name])
            for name, share in zip(PARTS, SHARES, strict=True)
        }
        parts[max(lacks, key=lambda name: lacks[name])] += group
    empty = [name for name in PARTS if not parts[name]]
    if empty:
        raise ManifestError(
            f"{len(utterances)} utterances with {len(groups)} different texts leave nothing for "
            f"{' and '.join(empty)}; 10 different texts or more are needed"
        )
    return {name: [utterances[n] for n in sorted(numbers)] for name, numbers in parts.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("folder", type=Path, help="train.jsonl, dev.jsonl and test.jsonl come here")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    return run_program("split", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    for name, part in split(read_manifest(arguments.manifest), arguments.seed).items():
        write_manifest(arguments.folder / f"{name}.jsonl", part)
        minutes = sum(utterance.duration for utterance in part) / 60
        print(f"{name}: {len(part):,} utterances, {minutes:.1f} min")
    return 0


if __name__ == "__main__":
    sys.exit(main())
