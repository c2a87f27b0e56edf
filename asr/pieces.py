"""Text as sequences of word pieces and back, for models over symbols (`asr.translator`)."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr.manifest import read_lines
from asr.text import Tokenizer, load_tokenizer, train_sentencepiece
from asr.translator_train import Pair

__all__ = ["Sides", "WordPieces", "read_pairs", "write_pairs"]

Sides = tuple[str, str]
"""What the files of sources and of targets are called, as ("en", "de")."""


class WordPieces:
    """The pieces of a tokenizer as symbols; characters that none of them covers are left out.

    Args:
        tokenizer: of word pieces.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.symbols = tokenizer.symbols[1:]
        self._ids = {symbol: number for number, symbol in enumerate(tokenizer.symbols)}
        self._covered = _Covered(tokenizer)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "WordPieces":
        """Read the tokenizer of a folder.

        Raises:
            TextError: its files are missing or damaged.
        """
        return cls(load_tokenizer(folder))

    def encode(self, text: str) -> tuple[str, ...]:
        """Return the pieces of a text; none where nothing of it is covered."""
        # White space of every kind is a space; the tokenizer knows no other.
        tokens = self.tokenizer.encode(" ".join(text.translate(self._covered).split()))
        return tuple(self.tokenizer.symbols[token] for token in tokens)

    def decode(self, pieces: Sequence[str]) -> str:
        """Return the text of pieces."""
        return self.tokenizer.decode([self._ids[piece] for piece in pieces])


def write_pairs(
    folder: Path, parts: Mapping[str, Sequence[tuple[str, str]]], sides: Sides, n_pieces: int
) -> None:
    """Write the texts of pairs and word pieces of both sides together.

    Args:
        folder: receives PART.SIDE, a text a line, and `tokenizer`.
        parts: "train", whose texts decide the pieces, and others.
        sides: see `Sides`.
        n_pieces: in all.

    Raises:
        TextError: the texts do not give so many pieces.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part, pairs in parts.items():
        for number, side in enumerate(sides):
            text = "".join(f"{pair[number]}\n" for pair in pairs)
            (folder / f"{part}.{side}").write_text(text, encoding="utf-8")
    # A text may be the target of one pair and the source of the next; it counts once.
    texts = dict.fromkeys(text for pair in parts["train"] for text in pair)
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir(exist_ok=True)
    train_sentencepiece(list(texts), n_pieces).save(tokenizer)


def read_pairs(folder: Path, part: str, sides: Sides, pieces: WordPieces) -> list[Pair]:
    """Return what `write_pairs` wrote as pieces; without pairs whose source has none.

    Raises:
        ManifestError: a file is missing.
    """
    sources, targets = (map(pieces.encode, read_lines(folder / f"{part}.{side}")) for side in sides)
    return [(source, target) for source, target in zip(sources, targets, strict=True) if source]


class _Covered(dict[int, str | None]):
    """What `str.translate` makes of a character: itself, or nothing; asked once of each."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        self[code] = found = None if self._tokenizer.unknown(character) else character
        return found
