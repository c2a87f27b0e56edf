"""What a neural model of words says of words that it does not know."""

from collections.abc import Iterable, Sequence

import numpy as np

from asr.errors import LanguageModelError
from lm.backoff import Floats
from lm.neural_model import NeuralLanguageModel
from lm.units import WordUnits

__all__ = ["WordShares"]


class WordShares:
    """What P(<unk>) of a neural model of words means for a word that it does not know.

    <unk> stands for all words of a lexicon that the model lacks, and for one more that stands for
    whatever the lexicon lacks; its probability is shared out among them:

        P(w | h) = P_model(<unk> | h) p(w) / (p(<unk>) + sum of p over the words it lacks)

    p are unigram probabilities, or the same for all.  So the probabilities of the lexicon's words,
    of an unknown one and of the end sum to 1 after every h, as far as the lexicon has the words
    that the model knows.

    Args:
        model: Of words.
        lexicon: Words; those outside it are unknown, even if the model has them.  None: no words
            share, each that the model lacks has all of P(<unk>).
        log_probs: (E,) natural logarithms of the lexicon's p; None: the same for all.
        unknown_log_prob: log p(<unk>).

    Raises:
        LanguageModelError: The model is not one of words.
    """

    def __init__(
        self,
        model: NeuralLanguageModel,
        lexicon: Sequence[str] | None = None,
        log_probs: Sequence[float] | Floats | None = None,
        unknown_log_prob: float = 0.0,
    ) -> None:
        if not isinstance(model.units, WordUnits):
            raise LanguageModelError("the neural language model is not one of words")
        self._unknown = model.units.unknown
        self._ids = {w: i for i, w in enumerate(model.symbols) if i > self._unknown}
        self._shares: dict[str, float] = {}
        self._unknown_share = 0.0
        if lexicon is None:
            return
        known = set(lexicon)
        self._ids = {word: index for word, index in self._ids.items() if word in known}
        values = np.zeros(len(lexicon)) if log_probs is None else np.asarray(log_probs, np.float64)
        lacking = [index for index, word in enumerate(lexicon) if word not in self._ids]
        total = float(np.logaddexp.reduce([*values[lacking], unknown_log_prob]))
        self._shares = {lexicon[index]: float(values[index]) - total for index in lacking}
        self._unknown_share = unknown_log_prob - total

    def find(self, word: str) -> tuple[int, float]:
        """The model's token for a word, and the logarithm of the word's share in it."""
        token = self._ids.get(word)
        if token is not None:
            return token, 0.0
        return self._unknown, self._shares.get(word, self._unknown_share)

    def encode(self, words: Iterable[str]) -> tuple[list[int], float]:
        """The tokens of words, and the sum of the logarithms of their shares."""
        found = [self.find(word) for word in words]
        return [token for token, _ in found], sum(share for _, share in found)
