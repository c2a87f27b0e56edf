"""Text as word ids; a line is a sentence, an empty one too.

Word ids follow KenLM: <unk> is 0, <s> is 1, </s> is 2, then the words in the order in which
the text brings them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from asr.errors import TextError
from lm.backoff import END, SPECIAL_WORDS, UNKNOWN, Ints
from lm.compressed import ByteReader, PathName

__all__ = [
    "SPACE",
    "Corpus",
    "Place",
    "Progress",
    "Split",
    "corpus_from_sentences",
    "read_blocks",
    "read_corpus",
    "read_words",
    "split_characters",
]

# What a space is called in a model of characters: ARPA files part words by spaces.
SPACE = "<space>"

# Called with what is being done, how much of it is done, and how much there is (0: unknown).
Progress = Callable[[str, int, int], None]

# Parts a line into a model's units.
Split = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Corpus:
    """A text as word ids.

    Args:
        vocabulary: the word of each id
        tokens: (N,) int32, all sentences one after the other, each ended by </s>
    """

    vocabulary: tuple[str, ...]
    tokens: Ints

    def most_frequent(self, n_words: int) -> list[str]:
        """The most frequent words; of equally frequent ones those that come first."""
        counts = np.bincount(self.tokens, minlength=len(self.vocabulary))
        counts[: len(SPECIAL_WORDS)] = 0
        order = np.argsort(-counts, kind="stable")[:n_words]
        return [self.vocabulary[word] for word in order if counts[word]]

    def limit(self, words: Iterable[str]) -> "Corpus":
        """The same text with every word outside a list turned into <unk>."""
        allowed = {*words, *SPECIAL_WORDS}
        kept = [word in allowed for word in self.vocabulary]
        ids = np.where(kept, np.cumsum(kept) - 1, UNKNOWN).astype(np.int32)
        vocabulary = tuple(word for word in self.vocabulary if word in allowed)
        return Corpus(vocabulary, ids[self.tokens])


class Place(NamedTuple):
    """Where a block of lines comes from, for messages."""

    name: str
    first_line: int

    def of(self, block: bytes, offset: int) -> str:
        line = self.first_line + block[:offset].count(b"\n")
        return f"{self.name}, line {line}"


class _Ids(dict[bytes, int]):
    """Word to id; a word that is not there gets the next id."""

    def __init__(self) -> None:
        super().__init__((word.encode(), index) for index, word in enumerate(SPECIAL_WORDS))
        self.words: list[bytes] = list(self)

    def __missing__(self, word: bytes) -> int:
        index = self[word] = len(self.words)
        self.words.append(word)
        return index


def split_characters(line: str) -> list[str]:
    """The characters of a line, spaces named SPACE; several spaces count as one."""
    return [SPACE if character == " " else character for character in " ".join(line.split())]


def read_blocks(
    paths: Iterable[PathName],
    *,
    split: Split | None = None,
    on_progress: Progress | None = None,
) -> Iterator[tuple[bytes, Place]]:
    """Read text files as blocks of whole lines, units parted by spaces; see `read_corpus`."""
    for path in paths:
        with ByteReader(path, TextError) as reader:
            n_lines = 0
            for block in reader.blocks():
                block = block.replace(b"\0", b" ")
                if not block.endswith(b"\n"):
                    block += b"\n"
                place = Place(reader.name, n_lines + 1)
                yield block if split is None else _split_lines(block, split, place), place
                n_lines += block.count(b"\n")
                if on_progress is not None:
                    on_progress(f"reading {reader.name}", reader.position(), reader.size)


def read_corpus(
    paths: Iterable[PathName],
    *,
    split: Split | None = None,
    skip_symbols: bool = False,
    enough: int = 0,
    on_progress: Progress | None = None,
) -> Corpus:
    """Read sentences, one a line, from text files.

    Args:
        paths: UTF-8 text, plain, gzip or xz; "-" is standard input
        split: makes the units of a line (`split_characters`, a tokenizer); words by default,
            which ASCII white space parts
        skip_symbols: leave <s>, </s> and <unk> in the text out, as `lmplz --skip_symbols` does
        enough: read no further block after so many words; 0: read everything
        on_progress: told the bytes read

    Raises:
        TextError: a file that cannot be read, is not UTF-8 or holds one of those symbols
    """
    ids = _Ids()
    parts: list[Ints] = []
    n_words = 0
    for block, place in read_blocks(paths, split=split, on_progress=on_progress):
        parts.append(_token_ids(block, ids, skip_symbols, place))
        n_words += int(np.count_nonzero(parts[-1] != END))
        if enough and n_words >= enough:
            break
    return _corpus(ids, parts)


def corpus_from_sentences(sentences: Iterable[Sequence[str]]) -> Corpus:
    """A corpus of sentences that are split already."""
    ids = _Ids()
    lines = [" ".join(sentence).encode() + b"\n" for sentence in sentences]
    return _corpus(ids, [_token_ids(b"".join(lines), ids, False, Place("the sentences", 1))])


def _corpus(ids: _Ids, parts: list[Ints]) -> Corpus:
    if not sum(map(len, parts)):
        raise TextError("no text: a language model needs at least one sentence")
    return Corpus(tuple(word.decode() for word in ids.words), np.concatenate(parts))


def _token_ids(block: bytes, ids: _Ids, skip_symbols: bool, place: Place) -> Ints:
    for symbol in SPECIAL_WORDS:
        if symbol.encode() in block:
            block = _without_symbol(block, symbol.encode(), skip_symbols, place)
    n_known = len(ids)
    words = block.replace(b"\n", b" </s> ").split()
    tokens = np.fromiter(map(ids.__getitem__, words), np.int32, len(words))
    for word in ids.words[n_known:]:
        try:
            word.decode()
        except UnicodeDecodeError:
            where = place.of(block, block.find(word))
            raise TextError(f"{where}: {word!r} is not UTF-8; convert the text to UTF-8") from None
    return tokens


def _split_lines(block: bytes, split: Split, place: Place) -> bytes:
    try:
        lines = block.decode().split("\n")[:-1]
    except UnicodeDecodeError as error:
        where = place.of(block, error.start)
        raise TextError(f"{where}: not UTF-8 text; convert it to UTF-8") from None
    return "".join([" ".join(split(line)) + "\n" for line in lines]).encode()


def _without_symbol(block: bytes, symbol: bytes, skip: bool, place: Place) -> bytes:
    lines = block.split(b"\n")
    for index, line in enumerate(lines):
        words = line.split() if symbol in line else []
        if symbol in words and not skip:
            where = f"{place.name}, line {place.first_line + index}"
            raise TextError(
                f"{where}: {symbol.decode()} is a symbol of language models and no word; take it "
                "out of the text or pass --skip-symbols"
            )
        if symbol in words:
            lines[index] = b" ".join(word for word in words if word != symbol)
    return b"\n".join(lines)


def read_words(path: PathName) -> list[str]:
    """The words of a word list, parted by white space, each once.

    Raises:
        TextError: the file cannot be read, is not UTF-8 or holds no word
    """
    with ByteReader(path, TextError) as reader:
        content = reader.stream.read()
    try:
        words = list(dict.fromkeys(word.decode() for word in content.split()))
    except UnicodeDecodeError as error:
        raise TextError(f"{reader.name}: not UTF-8 ({error.object!r:.60})") from None
    if not words:
        raise TextError(f"{reader.name}: no words; a word list has one word a line")
    return words
