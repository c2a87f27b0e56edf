"""Word vectors: a folder that loads in a moment, and word2vec's text format, which all read."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from asr.errors import CheckpointError, TextError
from lm.compressed import ByteReader, replacing

__all__ = ["VECTORS_FILE", "WORDS_FILE", "WordVectors"]

Floats = NDArray[np.float32]

VECTORS_FILE, WORDS_FILE = "vectors.safetensors", "words.txt"


@dataclass(frozen=True)
class WordVectors:
    """A vector for each word.

    Args:
        words: by falling frequency, where that is known
        vectors: (V, D) float32
        outputs: (V, D) float32, the vectors of words that are predicted; None if not kept
    """

    words: tuple[str, ...]
    vectors: Floats
    outputs: Floats | None = None

    @cached_property
    def normalized(self) -> Floats:
        """(V, D) the vectors at length 1; a zero vector stays."""
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        normalized: Floats = self.vectors / np.maximum(lengths, np.float32(1e-12))
        return normalized

    @cached_property
    def _numbers(self) -> dict[str, int]:
        numbers: dict[str, int] = {}
        for number, word in enumerate(self.words):
            numbers.setdefault(word.upper(), number)
        return numbers

    def find(self, word: str) -> int | None:
        """The number of a word in any case, of several the most frequent one; None without one."""
        return self._numbers.get(word.upper())

    def number(self, word: str) -> int:
        """The number of a word.

        Raises:
            TextError: it has no vector
        """
        found = self.find(word)
        if found is None:
            raise TextError(
                f"{word!r} is not among the {len(self.words):,} words; rare ones have no vector"
            )
        return found

    def neighbours(
        self, plus: Sequence[str], minus: Sequence[str] = (), n: int = 10
    ) -> list[tuple[str, float]]:
        """The words in the direction of a sum of words, the nearest first, those words left out.

            argmax over w of cos(v_w, sum of v/|v| over plus - sum of v/|v| over minus)

        Raises:
            TextError: a word without a vector
        """
        added, taken = ([self.number(word) for word in words] for words in (plus, minus))
        direction = self.normalized[added].sum(0) - self.normalized[taken].sum(0)
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
        cosines = self.normalized @ direction
        cosines[[*added, *taken]] = -np.inf
        n = min(n, len(self.words) - len({*added, *taken}))
        order = np.argsort(-cosines)[:n]
        return [(self.words[number], float(cosines[number])) for number in order]

    def save(self, folder: Path) -> None:
        """Write words.txt and vectors.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"vectors": self.vectors}
        if self.outputs is not None:
            arrays["outputs"] = self.outputs
        with replacing(folder / WORDS_FILE) as writing:
            writing.write_text("".join(f"{word}\n" for word in self.words), encoding="utf-8")
        with replacing(folder / VECTORS_FILE) as writing:
            save_file(arrays, writing)
            writing.chmod(0o644)

    def save_text(self, path: Path) -> None:
        """Write the text format of word2vec: sizes, then a word and its numbers a line."""
        n_words, size = self.vectors.shape
        layout = "%s " + " ".join(["%.6g"] * size) + "\n"
        with replacing(path) as writing, writing.open("w", encoding="utf-8") as file:
            file.write(f"{n_words} {size}\n")
            for word, vector in zip(self.words, self.vectors.tolist(), strict=True):
                file.write(layout % (word, *vector))

    @classmethod
    def load(cls, path: Path) -> "WordVectors":
        """Read a folder that `save` wrote, or a file in the text format (plain, gzip or xz).

        Raises:
            CheckpointError: the folder is not complete, or damaged
            TextError: the file is not in the text format
        """
        return cls._load_folder(path) if path.is_dir() else cls._load_text(path)

    @classmethod
    def _load_folder(cls, folder: Path) -> "WordVectors":
        try:
            words = (folder / WORDS_FILE).read_text(encoding="utf-8").splitlines()
            arrays = load_file(folder / VECTORS_FILE)
        except (OSError, UnicodeDecodeError, SafetensorError) as error:
            raise CheckpointError(
                f"{folder}: no word vectors ({error}); a folder with {WORDS_FILE} and "
                f"{VECTORS_FILE} is needed, or a file in the text format of word2vec"
            ) from None
        vectors = arrays.get("vectors")
        if vectors is None or vectors.ndim != 2 or len(vectors) != len(words):
            raise CheckpointError(
                f"{folder}: {WORDS_FILE} has {len(words)} words and {VECTORS_FILE} not as many "
                "vectors; copy both anew"
            )
        return cls(tuple(words), vectors, arrays.get("outputs"))

    @classmethod
    def _load_text(cls, path: Path) -> "WordVectors":
        with ByteReader(path, TextError) as reader:
            try:
                n_words, size = map(int, reader.stream.readline().split())
                if min(n_words, size) < 1:
                    raise ValueError
            except ValueError:
                raise TextError(
                    f"{path}: the first line is not the numbers of words and of dimensions, as in "
                    "the text format of word2vec"
                ) from None
            words: list[str] = []
            vectors = np.empty((n_words, size), np.float32)
            for number, line in enumerate(reader.stream):
                try:
                    word, *values = line.rstrip().split(b" ")
                    words.append(word.decode())
                    # Not an assignment to the row, which one number would fill.
                    vectors[number, :] = np.array(values, np.float32).reshape(size)
                except (ValueError, IndexError):
                    raise TextError(
                        f"{path}, line {number + 2}: not one of {n_words} lines with a word and "
                        f"{size} numbers"
                    ) from None
        if len(words) != n_words:
            raise TextError(
                f"{path}: {len(words)} words where {n_words} are announced; copy it anew"
            )
        return cls(tuple(words), vectors)
