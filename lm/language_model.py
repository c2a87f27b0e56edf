"""What every language model can do, and opening one of whatever kind lies in a file."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lm.arpa import read_arpa
from lm.array_file import MAGIC
from lm.compressed import ByteReader, PathName
from lm.kenlm_model import KenlmModel
from lm.table import NgramTable

__all__ = ["LanguageModel", "file_kind", "load_language_model"]

_KENLM_MAGIC = b"mmap lm http://kheafield.com/code"


class LanguageModel(Protocol):
    """P(words </s> | <s>), asked word by word; natural logs.

    States are opaque and hashable; equal states score every continuation the same.
    """

    @property
    def order(self) -> int:
        """Words that a score depends on at most, the scored one included."""

    def word_id(self, word: str) -> int:
        """The id of a word; 0, that of <unk>, for unknown ones."""

    def start(self) -> Any:
        """The state at the start of a sentence."""

    def step(self, state: Any, word: int) -> tuple[float, Any]:
        """log P(word | state) and the state after the word."""

    def finish(self, state: Any) -> float:
        """log P(</s> | state)."""

    def score(self, words: Sequence[str]) -> float:
        """log P(words </s> | <s>)."""

    def log_probs(self, words: Sequence[str]) -> NDArray[np.float32]:
        """log P of each word after those before it, and of the sentence's end, (U + 1,)."""


def file_kind(path: PathName) -> Literal["table", "kenlm", "arpa"]:
    """What a model file is by its first bytes; "arpa" for whatever is neither of the others.

    Raises:
        LanguageModelError: it cannot be read
    """
    with ByteReader(path) as reader:
        head = reader.stream.peek(len(_KENLM_MAGIC))
    if head.startswith(MAGIC):
        return "table"
    return "kenlm" if head.startswith(_KENLM_MAGIC) else "arpa"


def load_language_model(path: PathName) -> NgramTable | KenlmModel:
    """Open an n-gram table, a KenLM binary file or an ARPA file (plain, gzip or xz).

    Raises:
        LanguageModelError: it cannot be read, is damaged or none of these
        DependencyError: a KenLM binary file without the package kenlm
    """
    kind = file_kind(path)
    if kind == "table":
        return NgramTable.load(path, verify=True)
    if kind == "kenlm":
        return KenlmModel(path)
    return NgramTable.from_model(read_arpa(path))
