"""The training text in pieces of several sizes, and the test, as ids of one fixed vocabulary."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from asr.manifest import read_lines
from lm.backoff import END, START, UNKNOWN, Ints
from lm.corpus import Corpus, read_corpus, read_words

__all__ = ["beginning", "ngrams_of", "read_test", "read_training", "word_ids"]


def read_training(folder: Path) -> Corpus:
    """Read train.txt, words outside words.txt as <unk>."""
    return read_corpus([folder / "train.txt"]).limit(read_words(folder / "words.txt"))


def read_test(folder: Path) -> list[list[str]]:
    """Read test.txt: the words of each sentence."""
    return [line.split() for line in read_lines(folder / "test.txt")]


def beginning(corpus: Corpus, n_words: int) -> Corpus:
    """Return the first sentences, of so many words at most; 0 for all of them."""
    ends = np.flatnonzero(corpus.tokens == END)
    words_before = ends - np.arange(len(ends))
    n_sentences = int((words_before <= n_words).sum())
    if not n_words or n_sentences == len(ends):
        return corpus
    return Corpus(corpus.vocabulary, corpus.tokens[: ends[n_sentences - 1] + 1])


def word_ids(sentences: list[list[str]], vocabulary: tuple[str, ...]) -> Ints:
    """Return all sentences one after the other, (N,), each ended by </s>."""
    ids = {word: index for index, word in enumerate(vocabulary)}
    words = chain.from_iterable([*sentence, "</s>"] for sentence in sentences)
    return np.fromiter((ids.get(word, UNKNOWN) for word in words), np.int32)


def ngrams_of(tokens: Ints, order: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield the n-gram that ends at each token, in groups of equal length.

    Near a sentence's start n-grams are shorter: they begin with <s>.

    Args:
        tokens: (N,), sentences ended by </s>.
        order: length of the others.

    Yields:
        Places in the text, (M,), and the n-grams there, (M, n).
    """
    place = np.arange(len(tokens), dtype=np.int32)
    begins = np.zeros(len(tokens), np.int32)
    begins[1:] = np.where(tokens[:-1] == END, place[1:], 0)
    position = place - np.maximum.accumulate(begins)
    lengths = np.minimum(position + 2, order)
    for n in range(1, order + 1):
        places = place[lengths == n]
        before = np.arange(1 - n, 1)
        ngrams = tokens[np.maximum(places[:, None] + before, 0)]
        ngrams[position[places][:, None] + before < 0] = START
        yield places, ngrams
