"""NgramTable: an n-gram model as an automaton in flat arrays, for scoring and decoding."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from lm import automaton as walk
from lm.array_file import read_arrays, write_arrays
from lm.automaton import Automaton
from lm.backoff import END, START, UNKNOWN, BackoffModel, Floats, Ints, Ngrams
from lm.compressed import PathName

__all__ = ["NgramTable", "QuantizationLoss"]

_Indices = NDArray[np.int64]

# Natural log-probabilities below this mean "never" (missing <unk>, ARPA's -99).
_SMALLEST_LOG_PROB = -25.0


@dataclass(frozen=True)
class QuantizationLoss:
    """What quantising changed in log-probabilities (natural logs)."""

    mean_absolute: float
    largest: float


class NgramTable:
    """An n-gram model whose states are the contexts that matter, numbered from 0.

    Only contexts that n-grams extend (or that have a back-off weight) are states, as in KenLM,
    so that hypotheses that will score the same share theirs.

    Args:
        automaton: the arrays; they become read-only
        vocabulary: the words, joined by line feeds, as UTF-8 bytes
        n_states: how many states have contexts of 0, 1, ... words
    """

    def __init__(
        self, automaton: Automaton, vocabulary: NDArray[np.uint8], n_states: Sequence[int]
    ) -> None:
        for array in (*automaton, vocabulary):
            # One compiled version of every function serves built and memory-mapped tables.
            array.setflags(write=False)
        self.automaton = automaton
        self.vocabulary_bytes = vocabulary
        self.n_states = tuple(n_states)
        self.n_words = int(automaton.arc_starts[1])

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.n_ngrams)

    @cached_property
    def n_ngrams(self) -> tuple[int, ...]:
        """How many n-grams of order 1, 2, ... there are."""
        ends = self.automaton.arc_starts[np.cumsum(self.n_states)]
        return tuple(int(n) for n in np.diff(ends, prepend=0))

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The word of each id; <unk>, <s> and </s> are 0, 1 and 2."""
        return tuple(self.vocabulary_bytes.tobytes().decode().split("\n"))

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.vocabulary)}

    def word_id(self, word: str) -> int:
        """The id of a word; 0, that of <unk>, for unknown ones."""
        return self._ids.get(word, UNKNOWN)

    def start(self) -> int:
        """The state at the start of a sentence."""
        return int(self.automaton.arc_states[START])

    def step(self, state: int, word: int) -> tuple[float, int]:
        """log P(word | state) and the state after the word."""
        if not 0 <= word < self.n_words or not 0 <= state < len(self.automaton.backoff_states):
            raise IndexError(f"state {state} or word {word} is out of range")
        return walk.lookup(self.automaton, state, word)

    def finish(self, state: int) -> float:
        """log P(</s> | state)."""
        return float(self.automaton.final_log_probs[state])

    def score(self, words: Sequence[str]) -> float:
        """log P(words </s> | <s>)."""
        return float(self.log_probs(words).sum(dtype=np.float64))

    def log_probs(self, words: Sequence[str]) -> Floats:
        """log P of each word after those before it, and of the sentence's end, (U + 1,)."""
        return self.score_sentences([words])[0]

    def score_sentences(self, sentences: Iterable[Sequence[str]]) -> list[Floats]:
        """`log_probs` of many sentences in one compiled pass."""
        sentences = list(sentences)
        lengths = np.array([len(sentence) for sentence in sentences], dtype=np.int64)
        ids = map(self.word_id, itertools.chain.from_iterable(sentences))
        words = np.fromiter(ids, np.int32, int(lengths.sum()))
        found = walk.score_sentences(self.automaton, self.start(), words, lengths)
        return np.split(found, np.cumsum(lengths + 1)[:-1]) if len(lengths) else []

    def distribution(self, state: int) -> NDArray[np.float64]:
        """log P(w | state) of every word w, (V,); -inf for <s>, which never follows."""
        return walk.distribution(self.automaton, state)

    @classmethod
    def from_model(cls, model: BackoffModel) -> "NgramTable":
        """Build the automaton of a back-off model.

        Raises:
            LanguageModelError: an n-gram occurs twice or has no context among the n-grams
        """
        nodes, contexts = _sorted_ngrams(model)
        own_states, n_states = _number_states(nodes, contexts)
        own = np.concatenate(own_states)
        if len(own) >= 1 << 31:
            raise LanguageModelError(f"{len(own)} n-grams; a table holds fewer than 2^31")
        automaton = Automaton(
            arc_starts=_arc_starts(own_states, contexts, sum(n_states)),
            arc_words=np.concatenate([node.words[:, -1] for node in nodes]),
            arc_log_probs=np.concatenate([node.log_probs for node in nodes]),
            codebook=np.zeros(0, np.float32),
            arc_states=np.zeros(len(own), np.int32),
            backoff_log_probs=np.zeros(sum(n_states), np.float32),
            backoff_states=np.zeros(sum(n_states), np.int32),
            final_log_probs=np.zeros(sum(n_states), np.float32),
        )
        backoffs = np.concatenate([node.log_backoffs for node in nodes])
        automaton.backoff_log_probs[own[own >= 0]] = backoffs[own >= 0]
        walk.link(automaton, own)
        _set_final(automaton, n_states)
        vocabulary = np.frombuffer("\n".join(model.vocabulary).encode(), np.uint8)
        return cls(automaton, vocabulary, n_states)

    def to_model(self) -> BackoffModel:
        """The back-off model again, n-grams in the order of the arcs."""
        arrays = self.automaton
        log_probs = self.arc_log_probs()
        orders: list[Ngrams] = []
        contexts = np.zeros((1, 0), np.int32)
        first_state = first_arc = 0
        for n_states, n_ngrams in zip(self.n_states, self.n_ngrams, strict=True):
            arcs = slice(first_arc, first_arc + n_ngrams)
            starts = arrays.arc_starts[first_state : first_state + n_states + 1]
            words = np.column_stack(
                [np.repeat(contexts, np.diff(starts), axis=0), arrays.arc_words[arcs]]
            ).astype(np.int32)
            first_state, first_arc = first_state + n_states, arcs.stop
            # States of one word more than this order's contexts are n-grams of this order.
            own = arrays.arc_states[arcs] >= first_state
            backoffs = np.zeros(len(words), np.float32)
            backoffs[own] = arrays.backoff_log_probs[arrays.arc_states[arcs][own]]
            orders.append(Ngrams(words, log_probs[arcs], backoffs))
            contexts = words[own]
        return BackoffModel(self.vocabulary, tuple(orders))

    def save(self, path: PathName, *, compress: bool = False) -> None:
        """Write the table to a file that `load` maps into memory.

        Args:
            path: the file
            compress: make it a third as large; `load` then reads it, in some tenths of a second for
                millions of n-grams, and processes do not share it

        Raises:
            LanguageModelError: the file cannot be written
        """
        arrays = {**self.automaton._asdict(), "vocabulary": self.vocabulary_bytes}
        if compress:
            del arrays["final_log_probs"]
        write_arrays(path, arrays, {"n_states": self.n_states}, compress=compress)

    @classmethod
    def load(cls, path: PathName, *, verify: bool = False) -> "NgramTable":
        """Open a table: a memory map that processes share, or in memory if compressed.

        Args:
            path: what `save` wrote
            verify: read the whole file and compare its checksums

        Raises:
            LanguageModelError: no such file, another format or version, or damage
        """
        arrays, fields = read_arrays(path, verify=verify)
        vocabulary = arrays.pop("vocabulary")
        if "final_log_probs" in arrays:
            return cls(Automaton(**arrays), vocabulary, fields["n_states"])
        final = np.zeros(len(arrays["backoff_states"]), np.float32)
        automaton = Automaton(**arrays, final_log_probs=final)
        _set_final(automaton, fields["n_states"])
        return cls(automaton, vocabulary, fields["n_states"])

    def arc_log_probs(self) -> Floats:
        """The log-probability of every n-gram, (A,), quantised or not."""
        return _decoded(self.automaton)

    @property
    def bits(self) -> int:
        """Bits of each n-gram's probability: 32, 16 or 8."""
        return self.automaton.arc_log_probs.dtype.itemsize * 8

    def quantize(self, bits: int) -> tuple["NgramTable", QuantizationLoss]:
        """A table that holds each n-gram's log-probability in 16 or 8 bits.

        Back-off weights keep their 32 bits.  The levels lie closer where there are more values.

        Raises:
            LanguageModelError: other numbers of bits, or a table that is quantised already
        """
        if bits not in (8, 16) or self.bits != 32:
            raise LanguageModelError(
                f"{bits} bits from {self.bits}: a 32-bit table can be quantised to 16 or 8 bits"
            )
        values = self.arc_log_probs()
        edges, levels = _levels(values, 1 << bits)
        codes = np.searchsorted(edges, values, side="right").astype(np.uint16)
        errors = np.abs(levels[codes] - values)
        automaton = self.automaton._replace(
            arc_log_probs=codes.astype(np.uint8) if bits == 8 else codes,
            codebook=levels,
            final_log_probs=np.zeros(len(self.automaton.final_log_probs), np.float32),
        )
        _set_final(automaton, self.n_states)
        table = NgramTable(automaton, self.vocabulary_bytes, self.n_states)
        return table, QuantizationLoss(float(errors.mean()), float(errors.max()))


def _sorted_ngrams(model: BackoffModel) -> tuple[list[Ngrams], list[_Indices]]:
    """The n-grams of each order sorted by context, then word.

    Returns:
        The n-grams; the row of each one's context in the order below (nothing for unigrams).
    """
    n_words = len(model.vocabulary)
    first = model.orders[0]
    nodes = [first.select(np.argsort(first.words[:, 0]))]
    contexts = [np.zeros(0, np.int64)]
    all_keys: list[_Indices] = []
    for ngrams in model.orders[1:]:
        rows = ngrams.words[:, 0].astype(np.int64)
        for column, keys in enumerate(all_keys, start=1):
            wanted = rows * n_words + ngrams.words[:, column]
            rows = _search(keys, wanted)
            if (keys[rows] != wanted).any():
                words = ngrams.words[np.flatnonzero(keys[rows] != wanted)[0]]
                raise LanguageModelError(
                    f"the {len(words)}-gram {model.text(words)!r} is there without its context "
                    f"{model.text(words[: column + 1])!r}; the model is damaged"
                )
        keys = rows * n_words + ngrams.words[:, -1]
        order = np.argsort(keys)
        keys, ngrams = keys[order], ngrams.select(order)
        if (keys[1:] == keys[:-1]).any():
            words = ngrams.words[np.flatnonzero(keys[1:] == keys[:-1])[0]]
            raise LanguageModelError(
                f"the {len(words)}-gram {model.text(words)!r} is there twice; the model is damaged"
            )
        all_keys.append(keys)
        nodes.append(ngrams)
        contexts.append(keys // n_words)
    return nodes, contexts


def _number_states(nodes: list[Ngrams], contexts: list[_Indices]) -> tuple[list[Ints], list[int]]:
    """The state that each n-gram is (-1: none), and how many states have 0, 1, ... words."""
    own_states: list[Ints] = []
    n_states = [1]
    for node, extended in itertools.zip_longest(nodes, contexts[1:]):
        is_state = np.zeros(len(node), np.bool_)
        if extended is not None:
            is_state |= node.log_backoffs != 0
            is_state[extended] = True
        own = np.where(is_state, np.cumsum(is_state) - 1 + sum(n_states), -1)
        own_states.append(own.astype(np.int32))
        n_states.append(int(is_state.sum()))
    return own_states, n_states[:-1]


def _arc_starts(own_states: list[Ints], contexts: list[_Indices], n_states: int) -> Ints:
    n_arcs = np.zeros(n_states, np.int64)
    n_arcs[0] = len(own_states[0])
    for states, rows in zip(own_states, contexts[1:], strict=False):
        n_arcs += np.bincount(states[rows], minlength=n_states)
    return np.concatenate([[0], np.cumsum(n_arcs)]).astype(np.int32)


def _set_final(automaton: Automaton, n_states: Sequence[int]) -> None:
    """Fill in final_log_probs, shorter contexts first."""
    final = automaton.final_log_probs
    end_arcs = np.flatnonzero(automaton.arc_words == END)
    ending = np.searchsorted(automaton.arc_starts, end_arcs, side="right") - 1
    log_probs = _decoded(automaton)[end_arcs]
    first = 0
    for n in n_states:
        states = slice(first, first + n)
        final[states] = (
            automaton.backoff_log_probs[states] + final[automaton.backoff_states[states]]
        )
        listed = (ending >= first) & (ending < first + n)
        final[ending[listed]] = log_probs[listed]
        first += n


def _decoded(automaton: Automaton) -> Floats:
    values = automaton.arc_log_probs
    if values.dtype == np.float32:
        return values.astype(np.float32)
    return automaton.codebook[values]


def _search(keys: _Indices, wanted: _Indices) -> _Indices:
    """Where each wanted key may stand in sorted keys; looked up in order, which is faster."""
    order = np.argsort(wanted)
    rows = np.empty(len(wanted), np.int64)
    rows[order] = np.minimum(np.searchsorted(keys, wanted[order]), len(keys) - 1)
    return rows


def _levels(values: Floats, n_levels: int) -> tuple[Floats, Floats]:
    """Edges between quantisation levels, and the levels: the means of what lies between edges.

    Half of the levels are as dense as the cube root of the values' density, which makes the mean
    squared error small (Panter and Dite 1951); the others lie evenly, which bounds the largest.
    """
    counts, borders = np.histogram(values, bins=1 << 16)
    density = np.cbrt(counts)
    # Zeros of some kind, far below all others, shall not draw the even levels out.
    even = (borders[1:] > _SMALLEST_LOG_PROB).astype(np.float64)
    weights = density / density.sum() + even / max(even.sum(), 1.0)
    share = np.concatenate([[0.0], np.cumsum(weights)])
    wanted = np.linspace(0.0, share[-1], n_levels + 1)[1:-1]
    edges = np.interp(wanted, share, borders).astype(np.float32)
    codes = np.searchsorted(edges, values, side="right")
    n_values = np.bincount(codes, minlength=n_levels)
    sums = np.bincount(codes, values, n_levels)
    return edges, (sums / np.maximum(n_values, 1)).astype(np.float32)
