"""Random utterances through one process: every n-best as the readable search's, memory flat.

    python -m tools.soak_decode [--utterances 10000] [--seed 0]

Lexicons, weights, widths, lengths and sharpness are drawn anew for each utterance; nothing is
left out by thresholds.  Ends with exit code 1 if memory grows after the first twentieth.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from asr.decode.beam import BeamOptions, BeamSearch
from asr.decode.reference import prefix_beam_search
from tests.beam_search import LETTERS, WORD_MODEL, check, random_frames, run, unlimited, word_scorer
from tools.decode_peers import peak_memory_mb

WORDS = ("A", "B", "AB", "BA", "ABA", "CAB", "CC", "C", "ABC", "BB", "AAA")
# Allocators keep some pages; a leak of 200 bytes an utterance is more than this in 10,000.
MAX_GROWTH_MB = 2.0


class Utterance(NamedTuple):
    """One random utterance and how it is decoded."""

    words: list[str]
    options: BeamOptions
    n_frames: int
    sharpness: float
    seed: int


def draw(generator: np.random.Generator, seed: int) -> Utterance:
    """Draw an utterance."""
    n_words = int(generator.integers(1, len(WORDS) + 1))
    words = [str(word) for word in generator.choice(WORDS, n_words, replace=False)]
    options = unlimited(
        int(generator.integers(1, 20)),
        alpha=float(generator.uniform(0, 2)),
        beta=float(generator.uniform(-2, 2)),
        unknown_score=None if generator.random() < 0.5 else float(generator.uniform(-8, 0)),
    )
    sharpness = float(generator.choice([0.3, 2.0, 6.0]))
    return Utterance(words, options, int(generator.integers(0, 25)), sharpness, seed)


def decode(utterance: Utterance) -> None:
    """Decode with both searches.

    Raises:
        AssertionError: Their n-bests differ.
    """
    words, options, n_frames, sharpness, seed = utterance
    frames = random_frames(n_frames, LETTERS.n_tokens, seed, sharpness)
    found = run(BeamSearch(LETTERS, options, table=WORD_MODEL, words=words), frames)
    scorer = word_scorer(WORD_MODEL, LETTERS, words, options)
    expected = prefix_beam_search(frames.tolist(), [scorer], options.width)
    if expected:  # else no word may end, and the engine leaves out the last ones
        check(found, expected, options)


def soak(n_utterances: int, seed: int) -> Iterator[float]:
    """Decode utterances; yields the peak memory in MB after each twentieth of them."""
    generator = np.random.default_rng(seed)
    for index in range(n_utterances):
        decode(draw(generator, seed + index))
        if (index + 1) % max(1, n_utterances // 20) == 0:
            yield peak_memory_mb()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--utterances", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    memory = []
    for megabytes in soak(arguments.utterances, arguments.seed):
        memory.append(megabytes)
        print(f"{len(memory) * 5} %: {megabytes:.1f} MB", file=sys.stderr)
    growth = memory[-1] - memory[0]
    print(f"{arguments.utterances} utterances alike; {growth:+.1f} MB after the first twentieth")
    return int(growth > MAX_GROWTH_MB)


if __name__ == "__main__":
    sys.exit(main())
