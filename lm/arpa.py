"""ARPA files, the common text format of back-off n-gram models; log10 lives only here.

    \\data\\
    ngram 1=3 ...
    \\1-grams:
    log10 P <tab> words <tab> log10 back-off weight
    ...
    \\end\\

Reference: Doug Paul's ARPA format as SRILM's ngram-format(5) describes it.
"""

import re
from collections.abc import Iterator
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from lm.arpa_lines import Lines, index_words, parse_lines, word_ids
from lm.backoff import MISSING_UNKNOWN, SPECIAL_WORDS, BackoffModel, Floats, Ints, Ngrams
from lm.compressed import ByteReader, PathName, write_compressed
from lm.corpus import Progress

__all__ = ["read_arpa", "write_arpa"]

_LN10 = float(np.log(10.0))
# Text of so many bytes is parsed at once, n-grams of so many lines written at once.
_BLOCK = 1 << 23
_LINES = 1 << 18
# Text may stand before \data\, but not without end.
_MAX_PREFACE_LINES = 1000

_Objects = NDArray[np.object_]


class _Section:
    """The n-grams of one order as they are read, block by block."""

    def __init__(self, name: str, order: int, highest: bool, vocabulary: dict[bytes, int]) -> None:
        self.name = name
        self.order = order
        self.highest = highest
        self.vocabulary = vocabulary
        self.index = index_words(list(vocabulary)) if order > 1 else None
        self.parts: list[tuple[Ints, NDArray[np.float64], NDArray[np.float64]]] = []
        self.n_read = 0

    def fail(self, line: int, problem: str) -> NoReturn:
        raise LanguageModelError(f"{self.name}, line {line}: {problem}")

    def add(self, block: bytes, first_line: int) -> None:
        """Parse a block of lines; blank ones are passed over."""
        text = np.frombuffer(block, np.uint8)
        lines = parse_lines(text, block.count(b"\n"), self.order, self.highest)
        if self.index is None:
            words = self._new_words(block, lines, first_line)
        else:
            words = word_ids(self.index, text, lines.starts, lines.ends)
        if (words < 0).any():
            row, column = (int(place[0]) for place in np.nonzero(words < 0))
            word = block[lines.starts[row, column] : lines.ends[row, column]]
            self.fail(
                first_line + int(lines.numbers[row]), f"the word {_shown(word)} has no unigram"
            )
        if lines.bad >= 0:
            self._explain(block.split(b"\n")[lines.bad], first_line + lines.bad)
        self.parts.append((words, lines.log_probs, lines.backoffs))
        self.n_read += len(words)

    def _new_words(self, block: bytes, lines: Lines, first_line: int) -> Ints:
        ids = np.empty((len(lines.numbers), 1), np.int32)
        spans = zip(lines.starts[:, 0].tolist(), lines.ends[:, 0].tolist(), strict=True)
        for row, (start, end) in enumerate(spans):
            # SRILM can be made to write <UNK>; KenLM takes it as well.
            word = b"<unk>" if block[start:end] == b"<UNK>" else block[start:end]
            problem = ""
            if word in self.vocabulary:
                problem = "has a second unigram"
            elif not _is_utf8(word):
                problem = "is not UTF-8"
            if problem:
                line = first_line + int(lines.numbers[row])
                self.fail(line, f"the word {_shown(word)} {problem}")
            ids[row, 0] = self.vocabulary[word] = len(self.vocabulary)
        return ids

    def _explain(self, line: bytes, number: int) -> NoReturn:
        """Say what is wrong with a line that could not be parsed."""
        fields = line.translate(None, b"\r").replace(b"\t", b" ").split(b" ")
        fields = [field for field in fields if field]
        if len(fields) not in (self.order + 1, self.order + 2):
            self.fail(
                number,
                f"{len(fields)} fields; a log10 probability, {self.order} words and at most a "
                "back-off weight are needed",
            )
        for field in (fields[0], *fields[self.order + 1 :]):
            if not re.fullmatch(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", field):
                self.fail(number, f"{_shown(field)} is no decimal number")
            if abs(float(field)) >= 1e30:
                self.fail(number, f"{_shown(field)} is out of range")
        if float(fields[0]) > 0:
            self.fail(number, f"the log10 probability {_shown(fields[0])} is above 0")
        self.fail(number, f"a back-off weight at the highest order, {self.order}")

    def ngrams(self) -> Ngrams:
        words, log_probs, backoffs = zip(*self.parts, strict=True)
        return Ngrams(
            np.concatenate(words),
            (np.concatenate(log_probs) * _LN10).astype(np.float32),
            (np.concatenate(backoffs) * _LN10).astype(np.float32),
        )


def _is_utf8(word: bytes) -> bool:
    try:
        word.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(field: bytes) -> str:
    text = field.decode(errors="replace")
    return repr(text if len(text) <= 40 else text[:37] + "...")


class _Lines:
    """A file's lines, one at a time in the head, in blocks inside a section."""

    def __init__(self, reader: ByteReader) -> None:
        self.name = reader.name
        self.number = 0  # of the line returned last
        self._reader = reader
        self._pending = b""

    def fail(self, problem: str) -> NoReturn:
        raise LanguageModelError(f"{self.name}, line {self.number}: {problem}")

    def next(self) -> bytes | None:
        """The next line without white space at its ends; None at the end of the file."""
        if self._pending:
            line, _, self._pending = self._pending.partition(b"\n")
            line += b"\n"
        else:
            line = self._reader.stream.readline()
        if not line:
            return None
        self.number += 1
        return line.strip()

    def next_filled(self) -> bytes:
        """The next line that is not blank."""
        while (line := self.next()) is not None:
            if line:
                return line
        self.fail("the file ends here, before \\end\\; it is cut off, copy it anew")

    def blocks(self) -> Iterator[tuple[bytes, int]]:
        """Blocks of lines up to the next that starts with a backslash, with their first number."""
        while True:
            block = self._pending or (
                self._reader.stream.read(_BLOCK) + self._reader.stream.readline()
            )
            self._pending = b""
            if not block:
                return
            if not block.endswith(b"\n"):
                block += b"\n"
            end = 0 if block.startswith(b"\\") else block.find(b"\n\\") + 1
            ended = end > 0 or block.startswith(b"\\")
            if ended:
                block, self._pending = block[:end], block[end:]
            if block:
                yield block, self.number + 1
                self.number += block.count(b"\n")
            if ended:
                return


def read_arpa(path: PathName, *, on_progress: Progress | None = None) -> BackoffModel:
    """Read an ARPA file.

    <s> and </s> must be there; a missing <unk> gets KenLM's log10 probability of -100.

    Args:
        path: plain, gzip or xz file; "-" is standard input
        on_progress: told the bytes read

    Returns:
        The model; <unk>, <s> and </s> have the ids 0 to 2, the other words follow as in the file.

    Raises:
        LanguageModelError: naming file and line
    """
    with ByteReader(path) as reader:
        lines = _Lines(reader)
        counts = _read_head(lines)
        ids: dict[bytes, int] = {}
        orders: list[Ngrams] = []
        for n, count in enumerate(counts, start=1):
            line = lines.next_filled()
            if line != b"\\%d-grams:" % n:
                lines.fail(f"{_shown(line)} where \\{n}-grams: is needed")
            section = _Section(reader.name, n, n == len(counts), ids)
            for block, first_line in lines.blocks():
                section.add(block, first_line)
                if on_progress is not None:
                    on_progress(f"reading {reader.name}", reader.position(), reader.size)
            if section.n_read != count:
                lines.fail(f"{section.n_read} {n}-grams end here, the head says {count}")
            if section.parts:
                orders.append(section.ngrams())
        if (line := lines.next_filled()) != b"\\end\\":
            lines.fail(f"{_shown(line)} where \\end\\ is needed")
        while (rest := lines.next()) is not None:
            if rest:
                lines.fail(f"{_shown(rest)} after \\end\\")
    return _with_special_words(reader.name, ids, orders)


def _read_head(lines: _Lines) -> list[int]:
    """The number of n-grams of each order; only the highest may have none."""
    while (line := lines.next()) != b"\\data\\":
        if line is None or lines.number > _MAX_PREFACE_LINES:
            raise LanguageModelError(f"{lines.name}: no ARPA file, it has no line \\data\\")
    counts: list[int] = []
    while line := lines.next():
        found = re.fullmatch(rb"ngram\s+(\d{1,3})\s*=\s*(\d{1,15})", line)
        if not found or int(found[1]) != len(counts) + 1:
            lines.fail(f"{_shown(line)} where 'ngram {len(counts) + 1}=' and a number is needed")
        counts.append(int(found[2]))
    if not counts:
        lines.fail("no 'ngram 1=' line after \\data\\")
    if 0 in counts[: int(np.flatnonzero(counts)[-1]) if any(counts) else 1]:
        lines.fail("an order without n-grams below one that has some")
    return counts


def _with_special_words(name: str, ids: dict[bytes, int], orders: list[Ngrams]) -> BackoffModel:
    """Put <unk>, <s> and </s> first."""
    for word in (b"<s>", b"</s>"):
        if word not in ids:
            raise LanguageModelError(
                f"{name}: no {word.decode()}; a model with sentence starts and ends is needed"
            )
    special = [word.encode() for word in SPECIAL_WORDS]
    words = [*special, *(word for word in ids if word not in special)]
    renumbered = np.zeros(len(ids), np.int32)
    for new, word in enumerate(words):
        if word in ids:
            renumbered[ids[word]] = new
    orders = [Ngrams(renumbered[o.words], o.log_probs, o.log_backoffs) for o in orders]
    if b"<unk>" not in ids:
        first = orders[0]
        orders[0] = Ngrams(
            np.concatenate([first.words, np.zeros((1, 1), np.int32)]),
            np.append(first.log_probs, np.float32(MISSING_UNKNOWN)),
            np.append(first.log_backoffs, np.float32(0.0)),
        )
    return BackoffModel(tuple(word.decode() for word in words), tuple(orders))


def write_arpa(model: BackoffModel, path: PathName, *, on_progress: Progress | None = None) -> None:
    """Write an ARPA file with 6 decimals, compressed where its name ends in .gz or .xz.

    Raises:
        LanguageModelError: the file cannot be written
    """
    n_done, n_ngrams = 0, sum(map(len, model.orders))
    words = np.array([word.encode() for word in model.vocabulary], dtype=object)
    with write_compressed(path) as file:
        file.write(b"\\data\\\n")
        for n, ngrams in enumerate(model.orders, start=1):
            file.write(b"ngram %d=%d\n" % (n, len(ngrams)))
        for n, ngrams in enumerate(model.orders, start=1):
            file.write(b"\n\\%d-grams:\n" % n)
            for start in range(0, len(ngrams), _LINES):
                part = ngrams.select(np.arange(start, min(start + _LINES, len(ngrams))))
                file.write(_lines_of(part, words, with_backoffs=n < model.order))
                n_done += len(part)
                if on_progress is not None:
                    on_progress("writing n-grams", n_done, n_ngrams)
        file.write(b"\n\\end\\\n")


def _lines_of(ngrams: Ngrams, words: _Objects, *, with_backoffs: bool) -> bytes:
    columns = [words[ngrams.words[:, column]].tolist() for column in range(ngrams.words.shape[1])]
    text = columns[0] if len(columns) == 1 else map(b" ".join, zip(*columns, strict=True))
    fields = [_decimals(ngrams.log_probs), text]
    if with_backoffs:
        fields.append(_decimals(ngrams.log_backoffs))
    return b"\n".join(map(b"\t".join, zip(*fields, strict=True))) + b"\n"


def _decimals(values: Floats) -> list[bytes]:
    """Natural logs as log10 with 6 decimals; zeros as 0.

    Digits are made for all values at once, which takes a quarter of the time of formatting each.
    """
    log10 = values.astype(np.float64) / _LN10
    millionths = np.rint(np.abs(log10) * 1e6).astype(np.int64)
    text = np.empty((len(values), 9), np.uint8)
    text[:, 0] = ord("-")
    text[:, 2] = ord(".")
    rest = millionths.copy()
    for column in (8, 7, 6, 5, 4, 3, 1):
        text[:, column] = ord("0") + rest % 10
        rest //= 10
    strings: list[bytes] = text.view("S9").ravel().tolist()
    for row in np.flatnonzero((rest > 0) | (log10 > 0)):
        strings[row] = b"%.6f" % log10[row]
    for row in np.flatnonzero(millionths == 0):
        strings[row] = b"0"
    return strings
