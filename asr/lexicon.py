"""A pronouncing dictionary: the phones of words."""

import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from asr.errors import TextError

__all__ = ["Lexicon", "dictionary_lines", "has_stress", "read_lexicon", "write_lexicon"]

_Entries = dict[str, tuple[tuple[str, ...], ...]]

_VARIANT = re.compile(r"\(\d+\)$")
_STRESS = "012"


class Lexicon:
    """Words with one or more pronunciations each, the first the usual one.

    Args:
        entries: the pronunciations of each word in upper case
        spell_unknown: a word that is not there gets the names of its letters, which are the
            entries `A.`, `B.`, ... of CMUdict, else `A`, `B`, ...; apostrophes are silent
    """

    def __init__(
        self, entries: Mapping[str, Sequence[tuple[str, ...]]], *, spell_unknown: bool = False
    ) -> None:
        own = {word: tuple(phones) for word, phones in entries.items()}
        if not own or not all(all(p) and p for p in own.values()):
            raise TextError("a lexicon needs words, and one or more phones for each")
        self._read: Callable[[], _Entries] = lambda: own
        self._checksum: int | None = None
        self._copies: dict[bool, bytes] = {}
        self.spell_unknown = spell_unknown

    @classmethod
    def _of_file(
        cls,
        read: Callable[[], _Entries],
        checksum: int,
        copies: dict[bool, bytes],
        *,
        spell_unknown: bool,
    ) -> "Lexicon":
        lexicon = cls.__new__(cls)
        lexicon._read, lexicon._checksum, lexicon._copies = read, checksum, copies
        lexicon.spell_unknown = spell_unknown
        return lexicon

    @cached_property
    def _entries(self) -> _Entries:
        return self._read()

    @cached_property
    def phones(self) -> tuple[str, ...]:
        """All phones, sorted."""
        entries = self._entries.values()
        return tuple(sorted({phone for every in entries for one in every for phone in one}))

    @property
    def checksum(self) -> int:
        """A number that tells one lexicon from another, known of a file without reading words."""
        if self._checksum is None:
            self._checksum = zlib.crc32(self.to_bytes(compressed=False))
        return self._checksum

    def to_bytes(self, *, compressed: bool) -> bytes:
        """A dictionary in the format of CMUdict: the file as it was read, where it says the same.

        Args:
            compressed: by gzip
        """
        if compressed not in self._copies:
            data = "".join(self.lines()).encode()
            self._copies[compressed] = gzip.compress(data, mtime=0) if compressed else data
        return self._copies[compressed]

    def lines(self) -> Iterator[str]:
        """The lines of a dictionary in the format of CMUdict."""
        for word, pronunciations in self._entries.items():
            yield from dictionary_lines(word, pronunciations)

    def with_words(self, entries: Mapping[str, Sequence[tuple[str, ...]]]) -> "Lexicon":
        """The lexicon with some more words, which come last."""
        return Lexicon({**self._entries, **entries}, spell_unknown=self.spell_unknown)

    @property
    def words(self) -> tuple[str, ...]:
        """All words, in the order of the file."""
        return tuple(self._entries)

    def pronunciations(self, word: str) -> tuple[tuple[str, ...], ...]:
        """All pronunciations of a word; none where it is not in the lexicon."""
        return self._entries.get(word, ())

    def pronounce(self, word: str) -> tuple[str, ...] | None:
        """The first pronunciation, or the letters' names where those may be used, or None."""
        if word in self._entries:
            return self._entries[word][0]
        if not self.spell_unknown:
            return None
        names = [
            self._entries.get(f"{letter}.") or self._entries.get(letter)
            for letter in word.replace("'", "")
        ]
        if not names or None in names:
            return None
        return tuple(phone for name in names if name for phone in name[0])


def has_stress(phones: Iterable[str]) -> bool:
    """Return whether any phone carries a stress digit, as AH0 does."""
    return any(phone[-1:] in _STRESS for phone in phones if phone)


def dictionary_lines(word: str, pronunciations: Sequence[Sequence[str]]) -> list[str]:
    """Write the pronunciations of a word as CMUdict does: WORD, WORD(2), ...; a line each."""
    names = [word, *(f"{word}({number})" for number in range(2, len(pronunciations) + 1))]
    return [
        f"{name} {' '.join(phones)}\n" for name, phones in zip(names, pronunciations, strict=False)
    ]


def read_lexicon(
    path: str | os.PathLike[str], *, stress: bool = False, spell_unknown: bool = False
) -> Lexicon:
    """Read a dictionary in the format of CMUdict or of Kaldi's lexicon.txt, plain or .gz.

    A file is read when something is first asked of the lexicon.

    A line holds a word and its phones; `WORD(2)` or the same word again is a further
    pronunciation; `;;;` starts a line of comment, ` #` a comment behind the phones.

    Args:
        path: the file
        stress: keep the stress digits of vowels (AH0, AH1), which otherwise go
        spell_unknown: see `Lexicon`

    Raises:
        TextError: the file cannot be read; later, naming file and line, when a word has no phones
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TextError(f"{path}: cannot be read ({error.strerror})") from None
    file = _File(path, data, path.suffix == ".gz", stress)
    return Lexicon._of_file(
        lambda: _parse(file),
        zlib.crc32(data, int(stress)),
        {file.is_compressed: data} if stress else {},
        spell_unknown=spell_unknown,
    )


def write_lexicon(lexicon: Lexicon, path: str | os.PathLike[str]) -> None:
    """Write a dictionary, compressed if the name ends in .gz; the same bytes each time."""
    Path(path).write_bytes(lexicon.to_bytes(compressed=Path(path).suffix == ".gz"))


@dataclass(frozen=True)
class _File:
    """A dictionary as it lies there; a copy elsewhere is the same."""

    path: Path = field(compare=False)
    data: bytes
    is_compressed: bool
    stress: bool


@lru_cache(maxsize=1)  # for a program that loads a model and what was trained from it
def _parse(file: _File) -> _Entries:
    path = file.path
    try:
        text = (gzip.decompress(file.data) if file.is_compressed else file.data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path}: not UTF-8 text (byte {error.start}); convert it to UTF-8 first"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise TextError(f"{path}: damaged gzip file ({error}); copy it anew") from None
    entries: dict[str, list[tuple[str, ...]]] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        fields = [] if line.startswith(";;;") else line.partition(" #")[0].split()
        if not fields:
            continue
        word, *phones = fields
        if not phones:
            raise TextError(f"{path}:{number}: {word!r} has no phones behind it")
        if not file.stress:
            phones = [phone.rstrip(_STRESS) for phone in phones]
        if word[-1] == ")":
            word = _VARIANT.sub("", word)
        known = entries.setdefault(word.upper(), [])
        if tuple(phones) not in known:
            known.append(tuple(phones))
    if not entries:
        raise TextError(f"{path}: holds no words; lines of a word and its phones are needed")
    return {word: tuple(every) for word, every in entries.items()}
