"""Perplexity and the rate of unknown words, counted the usual ways."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import LanguageModelError
from lm.backoff import UNKNOWN
from lm.language_model import LanguageModel

__all__ = ["Perplexity", "measure_perplexity"]


@dataclass(frozen=True)
class Perplexity:
    """Sums over a text, from which every kind of perplexity follows; natural logs.

    Args:
        n_sentences: sentence ends
        n_words: words, unknown ones included
        n_unknown: words that the model does not know
        known_log_prob: sum over the known words
        unknown_log_prob: sum over the unknown words, scored as <unk>
        end_log_prob: sum over the sentence ends
    """

    n_sentences: int
    n_words: int
    n_unknown: int
    known_log_prob: float
    unknown_log_prob: float
    end_log_prob: float

    @property
    def unknown_rate(self) -> float:
        """Unknown words over all words."""
        return self.n_unknown / self.n_words if self.n_words else 0.0

    def perplexity(self, *, ends: bool = True, unknown: bool = True) -> float:
        """exp(-log P / N).

        KenLM's `query` calls (ends, unknown) "including OOVs", (ends, not unknown) "excluding
        OOVs"; SRILM's `ppl` is (ends, not unknown), its `ppl1` (not ends, not unknown).

        Args:
            ends: count and score </s>
            unknown: count and score unknown words, as <unk>

        Returns:
            At least 1; nan where nothing is counted.
        """
        log_prob, n = self.known_log_prob, self.n_words - self.n_unknown
        if unknown:
            log_prob, n = log_prob + self.unknown_log_prob, n + self.n_unknown
        if ends:
            log_prob, n = log_prob + self.end_log_prob, n + self.n_sentences
        if not n:
            return math.nan
        return math.exp(-log_prob / n) if -log_prob / n < 700 else math.inf


def measure_perplexity(model: LanguageModel, sentences: Iterable[Sequence[str]]) -> Perplexity:
    """Score sentences.

    Args:
        model: any language model
        sentences: the words (or the model's other units) of each

    Raises:
        LanguageModelError: there is no sentence
    """
    n_sentences = n_words = n_unknown = 0
    known = unknown = end = 0.0
    for sentence in sentences:
        log_probs = model.log_probs(sentence).astype(np.float64)
        is_unknown = np.array([model.word_id(word) == UNKNOWN for word in sentence], np.bool_)
        n_sentences += 1
        n_words += len(sentence)
        n_unknown += int(is_unknown.sum())
        end += float(log_probs[-1])
        unknown += float(log_probs[:-1][is_unknown].sum())
        known += float(log_probs[:-1][~is_unknown].sum())
    if not n_sentences:
        raise LanguageModelError("no text to score: at least one sentence is needed")
    return Perplexity(n_sentences, n_words, n_unknown, known, unknown, end)
