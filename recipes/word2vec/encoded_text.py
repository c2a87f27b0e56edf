"""The text as word numbers, by falling frequency; made once, then mapped into memory."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from kernels import Offsets, Sampling, Sentences, sigmoid_table
from numpy.typing import NDArray
from word2vec_config import CorpusConfig

from asr.checkpoint import atomic_folder, read_json, write_json
from asr.errors import CheckpointError, TextError
from lm.backoff import END, SPECIAL_WORDS
from lm.corpus import read_corpus

__all__ = [
    "EncodedText",
    "alias_table",
    "encode",
    "keep_probabilities",
    "load_text",
    "make_sampling",
    "noise_distribution",
    "save_text",
]

_NOISE_POWER = 0.75
_LARGEST = 2**32 - 1
_PARTS = ("training", "held_out")


@dataclass(frozen=True)
class EncodedText:
    """A text whose rare words are left out.

    Args:
        words: by falling frequency
        counts: (V,) int64, how often each occurs in `training`
        training: the sentences to learn from
        held_out: those to measure on
    """

    words: tuple[str, ...]
    counts: Offsets
    training: Sentences
    held_out: Sentences

    def limit(self, n_words: int, n_tokens: int) -> "EncodedText":
        """The text of the most frequent words alone, cut at the sentence that reaches a length.

        Words that the cut leaves out count as seen once: they may be held out.
        """
        training = _cut(_without_rare(self.training, n_words), n_tokens)
        counts = np.maximum(np.bincount(training.tokens, minlength=n_words), 1)
        return EncodedText(
            self.words[:n_words], counts, training, _without_rare(self.held_out, n_words)
        )


def encode(
    path: Path, config: CorpusConfig, on_progress: Callable[[str, int, int], None] | None = None
) -> EncodedText:
    """Read a text, one sentence a line.

    Raises:
        TextError: the file cannot be read, or hardly a word is frequent enough
    """
    corpus = read_corpus([path], skip_symbols=True, enough=config.n_words, on_progress=on_progress)
    tokens = corpus.tokens
    if config.n_words:
        n_read = np.cumsum(tokens != END)
        tokens = tokens[: np.searchsorted(n_read, config.n_words) + 1]
    sentence = np.concatenate(
        [np.zeros(1, np.int32), np.cumsum(tokens == END, dtype=np.int32)[:-1]]
    )
    held_out = sentence % config.held_out == config.held_out - 1
    counts = np.bincount(tokens[~held_out], minlength=len(corpus.vocabulary))
    counts[: len(SPECIAL_WORDS)] = 0
    order = np.argsort(-counts, kind="stable")
    order = order[: np.count_nonzero(counts >= config.min_count)]
    if len(order) < 2:
        raise TextError(
            f"{path}: {len(order)} words occur {config.min_count} times or more; 2 or more are "
            "needed: give more text or a smaller corpus.min_count"
        )
    numbers = np.full(len(corpus.vocabulary), -1, np.int32)
    numbers[order] = np.arange(len(order), dtype=np.int32)
    parts = [_sentences(tokens[chosen], numbers) for chosen in (~held_out, held_out)]
    if not len(parts[1].tokens):
        raise TextError(
            f"{path}: no word is held out; give more text or a smaller corpus.held_out than "
            f"{config.held_out}"
        )
    return EncodedText(tuple(corpus.vocabulary[word] for word in order), counts[order], *parts)


def _sentences(tokens: NDArray[np.int32], numbers: NDArray[np.int32]) -> Sentences:
    """Give words their numbers, and leave those without out."""
    renamed = numbers[tokens]
    n_words = np.cumsum(renamed >= 0)
    ends = n_words[tokens == END]
    kept = renamed[renamed >= 0]
    starts = np.concatenate([np.zeros(1, np.int64), ends])
    if starts[-1] < len(kept):
        starts = np.append(starts, len(kept))
    return Sentences(kept, starts)


def _without_rare(sentences: Sentences, n_words: int) -> Sentences:
    kept = sentences.tokens < n_words
    places = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
    return Sentences(sentences.tokens[kept], places[sentences.starts])


def _cut(sentences: Sentences, n_tokens: int) -> Sentences:
    last = min(int(np.searchsorted(sentences.starts, n_tokens)), len(sentences.starts) - 1)
    starts = sentences.starts[: last + 1]
    return Sentences(sentences.tokens[: starts[-1]], starts)


def save_text(text: EncodedText, folder: Path) -> None:
    """Write words.tsv, the arrays of both parts, and their sizes."""
    with atomic_folder(folder) as writing:
        lines = [f"{word}\t{n}\n" for word, n in zip(text.words, text.counts, strict=True)]
        (writing / "words.tsv").write_text("".join(lines), encoding="utf-8")
        sizes = {}
        for name, part in zip(_PARTS, (text.training, text.held_out), strict=True):
            np.save(writing / f"{name}_tokens.npy", part.tokens)
            np.save(writing / f"{name}_starts.npy", part.starts)
            sizes[name] = {"words": len(part.tokens), "sentences": len(part.starts) - 1}
        write_json(writing / "sizes.json", {"vocabulary": len(text.words), **sizes})


def load_text(folder: Path) -> EncodedText:
    """Map what `save_text` wrote.

    Raises:
        CheckpointError: no such folder, or damage
    """
    sizes = read_json(folder / "sizes.json")
    try:
        lines = (folder / "words.tsv").read_text(encoding="utf-8").splitlines()
        words, counts = zip(*(line.split("\t") for line in lines), strict=True)
        parts = [
            Sentences(
                np.load(folder / f"{name}_tokens.npy", mmap_mode="r"),
                np.load(folder / f"{name}_starts.npy", mmap_mode="r"),
            )
            for name in _PARTS
        ]
        complete = len(words) == sizes["vocabulary"]
        for name, part in zip(_PARTS, parts, strict=True):
            complete = complete and len(part.tokens) == sizes[name]["words"] == part.starts[-1]
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: {error}; run the stage prepare again") from None
    if not complete:
        raise CheckpointError(
            f"{folder}: its files do not fit together; run the stage prepare again"
        )
    return EncodedText(words, np.array(counts, np.int64), parts[0], parts[1])


def keep_probabilities(counts: Offsets, sample: float) -> NDArray[np.float64]:
    """With which probability an occurrence of each word stays in the text.

        P(keep w) = min(1, sqrt(t / f(w)) + t / f(w)),   f(w) = n(w) / sum of n

    This is word2vec.c's; the paper has sqrt(t / f(w)) alone.

    Args:
        counts: (V,) n
        sample: t; 0 keeps all
    """
    if not sample:
        return np.ones(len(counts))
    ratio = sample * counts.sum() / np.maximum(counts, 1)
    kept: NDArray[np.float64] = np.minimum(1.0, np.sqrt(ratio) + ratio)
    return kept


def noise_distribution(counts: Offsets) -> NDArray[np.float64]:
    """q(w), proportional to n(w)^0.75, which negatives are drawn from."""
    powers = counts.astype(np.float64) ** _NOISE_POWER
    powers /= powers.sum()
    return powers


def alias_table(
    probabilities: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Walker's table: a column drawn evenly gives its own word or one other.

    Args:
        probabilities: (V,)

    Returns:
        (V,) the probability of the column's own word; (V,) the other word.

    Reference: Vose, "A linear algorithm for generating random numbers with a given distribution",
    IEEE Transactions on Software Engineering 17, 1991.
    """
    accept = probabilities * len(probabilities)
    alias = np.arange(len(accept), dtype=np.int32)
    small = np.flatnonzero(accept < 1).tolist()
    large = np.flatnonzero(accept >= 1).tolist()
    while small and large:
        word, donor = small.pop(), large[-1]
        alias[word] = donor
        accept[donor] -= 1 - accept[word]
        if accept[donor] < 1:
            small.append(large.pop())
    # What is left is 1 but for rounding.
    accept[small + large] = 1
    return accept, alias


def make_sampling(counts: Offsets, sample: float) -> Sampling:
    """Return the tables that the kernels draw from."""
    accept, alias = alias_table(noise_distribution(counts))
    keep = keep_probabilities(counts, sample)
    limits = [(p * _LARGEST).astype(np.uint32) for p in (keep, accept)]
    return Sampling(limits[0], limits[1], alias, sigmoid_table())
