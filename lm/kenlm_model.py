"""KenLM's binary files, read by the package kenlm, behind the protocol of all language models."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from asr.errors import DependencyError, LanguageModelError
from lm.backoff import UNKNOWN, Floats
from lm.compressed import PathName

if TYPE_CHECKING:
    import kenlm

__all__ = ["KenlmModel"]

_LN10 = float(np.log(10.0))


class KenlmModel:
    """An n-gram model of KenLM.

    The file's word ids are hidden; words get ids of our own in the order in which they are asked
    for.

    Args:
        path: binary file of `build_binary`; an ARPA file works too, but loads slowly

    Raises:
        LanguageModelError: it cannot be read
        DependencyError: the package kenlm is not installed
    """

    def __init__(self, path: PathName) -> None:
        try:
            import kenlm
        except ImportError:
            raise DependencyError(
                f"{os.fspath(path)} needs the package kenlm: pip install kenlm, or make a table "
                "of the ARPA file with `python -m lm convert`"
            ) from None
        config = kenlm.Config()
        config.show_progress = False
        config.arpa_complain = kenlm.ARPALoadComplain.NONE
        try:
            self._model = kenlm.Model(os.fspath(path), config)
        except OSError as error:
            problem = " ".join(str(error).split())
            raise LanguageModelError(f"{os.fspath(path)}: no KenLM model ({problem})") from None
        self._new_state = kenlm.State
        self._words = ["<unk>"]
        self._ids = {"<unk>": UNKNOWN}
        self._start = kenlm.State()
        self._model.BeginSentenceWrite(self._start)

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return int(self._model.order)

    def word_id(self, word: str) -> int:
        """The id of a word; 0, that of <unk>, for unknown ones."""
        known = self._ids.get(word)
        if known is None:
            known = UNKNOWN
            if word in self._model:
                known = len(self._words)
                self._words.append(word)
            self._ids[word] = known
        return known

    def start(self) -> "kenlm.State":
        """The state at the start of a sentence."""
        return self._start

    def step(self, state: "kenlm.State", word: int) -> tuple[float, "kenlm.State"]:
        """log P(word | state) and the state after the word."""
        following = self._new_state()
        log10 = self._model.BaseScore(state, self._words[word], following)
        return log10 * _LN10, following

    def finish(self, state: "kenlm.State") -> float:
        """log P(</s> | state)."""
        log10: float = self._model.BaseScore(state, "</s>", self._new_state())
        return log10 * _LN10

    def score(self, words: Sequence[str]) -> float:
        """log P(words </s> | <s>)."""
        return float(self.log_probs(words).sum(dtype=np.float64))

    def log_probs(self, words: Sequence[str]) -> Floats:
        """log P of each word after those before it, and of the sentence's end, (U + 1,)."""
        scores = [log10 for log10, _, _ in self._model.full_scores(" ".join(words))]
        return np.array(scores, np.float32) * np.float32(_LN10)
