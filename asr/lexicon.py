"""A pronouncing dictionary: the phones of words."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr.errors import ManifestError, TextError
from asr.manifest import read_lines

__all__ = ["Lexicon", "dictionary_lines", "read_lexicon"]

_VARIANT = re.compile(r"\(\d+\)$")


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
        self._entries = {word: tuple(phones) for word, phones in entries.items()}
        if not self._entries or not all(all(p) and p for p in self._entries.values()):
            raise TextError("a lexicon needs words, and one or more phones for each")
        self.spell_unknown = spell_unknown
        self.phones = tuple(
            sorted({phone for every in self._entries.values() for one in every for phone in one})
        )

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


def dictionary_lines(word: str, pronunciations: Sequence[Sequence[str]]) -> list[str]:
    """Write the pronunciations of a word as CMUdict does: WORD, WORD(2), ...; a line each."""
    names = [word, *(f"{word}({number})" for number in range(2, len(pronunciations) + 1))]
    return [
        f"{name} {' '.join(phones)}\n" for name, phones in zip(names, pronunciations, strict=False)
    ]


def read_lexicon(
    path: str | os.PathLike[str], *, stress: bool = False, spell_unknown: bool = False
) -> Lexicon:
    """Read a dictionary in the format of CMUdict or of Kaldi's lexicon.txt.

    A line holds a word and its phones; `WORD(2)` or the same word again is a further
    pronunciation; `;;;` starts a line of comment, ` #` a comment behind the phones.

    Args:
        path: the file
        stress: keep the stress digits of vowels (AH0, AH1), which otherwise go
        spell_unknown: see `Lexicon`

    Raises:
        TextError: naming file and line, when it cannot be read or a word has no phones
    """
    try:
        lines = read_lines(Path(path))
    except ManifestError as error:
        raise TextError(str(error)) from None
    entries: dict[str, list[tuple[str, ...]]] = {}
    for number, line in enumerate(lines, start=1):
        fields = [] if line.startswith(";;;") else line.split(" #")[0].split()
        if not fields:
            continue
        word, *phones = fields
        if not phones:
            raise TextError(f"{path}:{number}: {word!r} has no phones behind it")
        if not stress:
            phones = [phone.rstrip("012") for phone in phones]
        known = entries.setdefault(_VARIANT.sub("", word).upper(), [])
        if tuple(phones) not in known:
            known.append(tuple(phones))
    if not entries:
        raise TextError(f"{path}: holds no words; lines of a word and its phones are needed")
    return Lexicon(entries, spell_unknown=spell_unknown)
