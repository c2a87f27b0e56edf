"""What a neural language model's tokens stand for: a tokenizer's tokens, or words."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from asr.errors import TextError
from asr.text import CharTokenizer, Tokenizer, load_tokenizer
from lm.corpus import SPACE, read_words

__all__ = ["TokenizerUnits", "Units", "WordUnits", "load_units"]

_END_SYMBOL = "</s>"
_UNKNOWN_SYMBOL = "<unk>"
_WORDS_FILE = "words.txt"


class Units(Protocol):
    """Sentences to token ids and back; token 0 is the end of a sentence.

    Attributes:
        symbols: the symbol of each token; symbols[0] is "</s>"
    """

    symbols: tuple[str, ...]

    @property
    def unknown(self) -> int | None:
        """The token of whatever has none; None where encoding refuses it."""

    def encode(self, sentence: str) -> list[int]:
        """The tokens of a sentence, without its end.

        Raises:
            TextError: naming what has no token
        """

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the units' files into a folder."""


class TokenizerUnits:
    """The tokens of a recogniser's tokenizer, under the same ids; 0, its blank, ends sentences.

    Args:
        tokenizer: of characters, word pieces or phones
    """

    unknown = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        symbols = (SPACE if symbol == " " else symbol for symbol in tokenizer.symbols[1:])
        self.symbols = (_END_SYMBOL, *symbols)

    @classmethod
    def of_characters(cls, sentences: Iterable[str]) -> "TokenizerUnits":
        """All characters of a text, in the order of their code points."""
        characters: set[str] = set()
        for sentence in sentences:
            characters.update(sentence)
        return cls(CharTokenizer(sorted(characters)))

    def encode(self, sentence: str) -> list[int]:
        """The tokens of a sentence."""
        return self.tokenizer.encode(sentence)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        return self.tokenizer.decode(tokens)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the tokenizer's files."""
        self.tokenizer.save(folder)


class WordUnits:
    """Words by falling frequency behind </s> and <unk>.

    Args:
        words: the vocabulary

    Raises:
        TextError: a word that stands there twice or is one of these symbols
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.symbols = (_END_SYMBOL, _UNKNOWN_SYMBOL, *words)
        self.unknown = 1
        self._ids = {word: index for index, word in enumerate(self.symbols)}
        if len(self._ids) < len(self.symbols):
            twice = Counter(self.symbols).most_common(1)[0][0]
            raise TextError(f"word list: {twice!r} stands there twice or is a symbol")

    @classmethod
    def most_frequent(cls, sentences: Iterable[str], n_words: int) -> "WordUnits":
        """The most frequent words of a text; of equally frequent ones those that come first."""
        counts: Counter[str] = Counter()
        for sentence in sentences:
            counts.update(sentence.split())
        for symbol in (_END_SYMBOL, _UNKNOWN_SYMBOL):
            del counts[symbol]
        return cls([word for word, _ in counts.most_common(n_words)])

    def encode(self, sentence: str) -> list[int]:
        """The words of a sentence; those outside the vocabulary are unknown."""
        return [self._ids.get(word, self.unknown) for word in sentence.split()]

    def decode(self, tokens: Sequence[int]) -> str:
        """The words with spaces between them."""
        return " ".join(self.symbols[token] for token in tokens)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write words.txt."""
        text = "".join(f"{word}\n" for word in self.symbols[2:])
        Path(folder, _WORDS_FILE).write_text(text, encoding="utf-8")


def load_units(folder: str | os.PathLike[str]) -> Units:
    """Load the units that lie in a model folder.

    Raises:
        TextError: their files are missing or damaged
    """
    path = Path(folder, _WORDS_FILE)
    if path.exists():
        return WordUnits(read_words(path))
    return TokenizerUnits(load_tokenizer(folder))
