"""A text cut into what models are trained on, tuned on and tested on, each of one piece."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from asr.errors import TextError
from lm.compressed import PathName
from lm.corpus import read_blocks

__all__ = ["PartSizes", "TextParts", "first_words", "repeated", "split_text"]


@dataclass(frozen=True)
class PartSizes:
    """How to cut a text, in words; the parts hold whole sentences and are at most so large.

    The test is the end, so that one test goes with every amount of training text.  The gaps keep
    the parts from sharing the book, or whatever the text is made of, that a border cuts.

    Attributes:
        training: from the start; 0 for all that is left.
        dev: before the test; 0 for no such part.
        test: the end.
        gap: left out before dev and before the test.
    """

    training: int = 0
    dev: int = 0
    test: int = 100_000
    gap: int = 0

    @property
    def held_out(self) -> int:
        """Words that are not for training."""
        return self.gap + self.test + (self.gap + self.dev if self.dev else 0)


@dataclass(frozen=True)
class TextParts:
    """Sentences, words parted by single spaces."""

    training: list[str]
    dev: list[str]
    test: list[str]


def split_text(path: PathName, sizes: PartSizes) -> TextParts:
    """Cut a text, a sentence a line, into training, dev and test; empty lines are left out.

    Args:
        path: plain, gzip or xz.
        sizes: of the parts.

    Raises:
        TextError: the text cannot be read or is too short.
    """
    text = b"".join(block for block, _ in read_blocks([path], split=str.split)).decode()
    sentences = [line for line in text.split("\n") if line]
    ends = _ends(sentences)
    n_words = ends[-1] if ends else 0
    needed = sizes.held_out + max(sizes.training, 1)
    if n_words < needed or min(sizes.test, sizes.training + 1, sizes.dev + 1, sizes.gap + 1) < 1:
        raise TextError(
            f"{path}: has {n_words:,} words for {sizes.training:,} to train on, {sizes.dev:,} of "
            f"dev, {sizes.test:,} of test and gaps of {sizes.gap:,}; {needed:,} are needed"
        )
    test_start = n_words - sizes.test
    dev_start = test_start - sizes.gap - sizes.dev
    rest = n_words - sizes.held_out
    begins = [0, *ends[:-1]]

    def stretch(first: int, n: int) -> list[str]:
        return [
            sentence
            for sentence, begin, end in zip(sentences, begins, ends, strict=True)
            if begin >= first and end <= first + n
        ]

    return TextParts(
        stretch(0, sizes.training or rest),
        stretch(dev_start, sizes.dev),
        stretch(test_start, sizes.test),
    )


def first_words(sentences: Sequence[str], n_words: int) -> Sequence[str]:
    """Return the first sentences, of so many words at most."""
    return sentences[: sum(end <= n_words for end in _ends(sentences))]


def repeated(
    sentences: Sequence[str], training: Sequence[str], *, min_words: int
) -> tuple[int, int]:
    """Count how many sentences stand in the training text, too, which short ones do by chance.

    Args:
        sentences: of a held-out part.
        training: the training text.
        min_words: shorter sentences are left aside.

    Returns:
        how many are repeated, and how many there are.
    """
    long_ones = [line for line in sentences if line.count(" ") + 1 >= min_words]
    there = set(training).intersection(long_ones)
    return sum(line in there for line in long_ones), len(long_ones)


def _ends(sentences: Sequence[str]) -> list[int]:
    """How many words there are up to the end of each sentence."""
    return list(accumulate(sentence.count(" ") + 1 for sentence in sentences))
