"""Stretches that begin and end in mid-speech, cut out of the utterances of a manifest.

    asr align train.jsonl --format ctm > train.ctm
    python recipes/librispeech/cut.py train.jsonl train.ctm EXP/manifests/cut.jsonl

Read utterances begin and end with silence.  A recogniser that has heard nothing else has never
begun within a sentence, as it must where a long recording is taken in chunks.  Of a share of the
utterances one stretch each is drawn: from a word of the first half on, to the end, or as often to a
word of the last quarter.  Cuts lie in the middle between two words.
"""

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from asr.cli import run_program
from asr.errors import ConfigError, ManifestError
from asr.manifest import Utterance, read_lines, read_manifest, write_manifest

__all__ = ["Times", "cut", "main", "read_times", "timed_words"]

MIN_WORDS = 4
"""Words that a stretch has at least."""

Times = list[tuple[float, float]]


def read_times(path: Path) -> dict[str, Times]:
    """Return where the words of each recording begin and end, in seconds, by its id.

    Raises:
        ManifestError: the file cannot be read or is no CTM.
    """
    times: dict[str, Times] = defaultdict(list)
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split()
        try:
            begin, duration = float(fields[2]), float(fields[3])
        except (IndexError, ValueError):
            raise ManifestError(
                f"{path}:{number}: {line!r} is no line of a CTM, as `asr align --format ctm` "
                "writes them: id, channel, begin, duration, word"
            ) from None
        times[fields[0]].append((begin, begin + duration))
    return times


def timed_words(utterance: Utterance, times: Times) -> list[str]:
    """Return the words of an utterance.

    Raises:
        ManifestError: there are more or fewer times than words.
    """
    words = utterance.text.split()
    if len(times) != len(words):
        raise ManifestError(
            f"{utterance.id}: {len(words)} words, and times of {len(times)}; align this manifest"
        )
    return words


def cut(utterance: Utterance, times: Times, draw: random.Random) -> Utterance | None:
    """Return a stretch of an utterance, or None where it has too few words.

    Args:
        utterance: with text.
        times: where its words begin and end, in seconds from its start.
        draw: decides where the cuts are.

    Raises:
        ManifestError: there are more or fewer times than words.
    """
    words = timed_words(utterance, times)
    if len(words) < 2 * MIN_WORDS:
        return None
    first = draw.randint(1, len(words) // 2)
    end = len(words)
    if draw.random() < 0.5:
        end = draw.randint(max(first + MIN_WORDS, 3 * len(words) // 4), len(words))
    cuts = [(before[1] + after[0]) / 2 for before, after in pairwise(times)]
    start = cuts[first - 1]
    stop = cuts[end - 1] if end < len(words) else utterance.duration
    if stop <= start:
        return None
    return replace(
        utterance,
        text=" ".join(words[first:end]),
        offset=round(utterance.offset + start, 3),
        duration=round(stop - start, 3),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("ctm", type=Path, help="times of its words")
    parser.add_argument("output", type=Path, help="the manifest to write")
    parser.add_argument("--share", type=float, default=0.4, help="of utterances (default: 0.4)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    return run_program("cut", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    if not 0 < arguments.share <= 1:
        raise ConfigError(f"--share {arguments.share:g}: more than 0 and at most 1 is needed")
    utterances = read_manifest(arguments.manifest)
    times = read_times(arguments.ctm)
    draw = random.Random(arguments.seed)
    stretches = []
    n_missing = 0
    for utterance in utterances:
        if draw.random() >= arguments.share:
            continue
        if utterance.id not in times:
            n_missing += 1
            continue
        stretch = cut(utterance, times[utterance.id], draw)
        stretches += [stretch] if stretch else []
    if n_missing:
        print(f"cut: {n_missing} utterances are not in {arguments.ctm}", file=sys.stderr)
    if not stretches:
        raise ManifestError(
            f"{arguments.manifest}: no stretch to cut; utterances of {2 * MIN_WORDS} words or more "
            "and their times are needed"
        )
    write_manifest(arguments.output, stretches)
    hours = sum(stretch.duration for stretch in stretches) / 3600
    print(f"{len(stretches)} stretches, {hours:.2f} h, of {len(utterances)} utterances")
    return 0


if __name__ == "__main__":
    sys.exit(main())
