"""Text drawn from an n-gram model."""

from collections.abc import Sequence

import numpy as np

from asr.errors import LanguageModelError
from lm.backoff import END, UNKNOWN
from lm.corpus import SPACE
from lm.table import NgramTable

__all__ = ["join_units", "sample_sentence"]


def sample_sentence(
    table: NgramTable,
    generator: np.random.Generator,
    *,
    prefix: Sequence[str] = (),
    max_words: int = 100,
    temperature: float = 1.0,
) -> list[str]:
    """Draw words from P(w | words before)^(1 / temperature) until </s>; <unk> is never drawn.

    Args:
        table: the model
        generator: the source of chance
        prefix: words that stand first
        max_words: length at most, with the prefix
        temperature: > 0; below 1 likely words become likelier still

    Raises:
        LanguageModelError: a temperature of 0 or less
    """
    if not temperature > 0:
        raise LanguageModelError(f"temperature {temperature}: a number above 0 is needed")
    words = list(prefix)
    state = table.start()
    for word in words:
        _, state = table.step(state, table.word_id(word))
    while len(words) < max_words:
        log_probs = table.distribution(state) / temperature
        log_probs[UNKNOWN] = -np.inf
        probs = np.exp(log_probs - log_probs.max())
        word_id = int(generator.choice(len(probs), p=probs / probs.sum()))
        if word_id == END:
            break
        words.append(table.vocabulary[word_id])
        _, state = table.step(state, word_id)
    return words


def join_units(words: Sequence[str], *, characters: bool) -> str:
    """The text of words, or of characters with SPACE among them."""
    return "".join(words).replace(SPACE, " ") if characters else " ".join(words)
