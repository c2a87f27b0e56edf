"""Words told apart by their phones: the tokens that a beam searches where a model says phones.

The search of `asr.decode.engine` knows words by what tokens spell.  Here a word is spelled by its
first phone, its other phones and its end.  So that a phone says whether it begins a word, the
search has two tokens for each; so that words that sound alike are different to it, it has as many
ends as the most words that share a pronunciation.  All tokens of one phone, and all ends, have
the log-probabilities that the model gives this phone or the end:

    P(audio, words) = sum over pronunciations of P(audio | phones) P(phones | words) P(words),

of which the search takes the largest, with P(phones | words) = 1 for those in the lexicon.
"""

import itertools
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.decode.lexicon_trie import ROOT, Trie, build_trie, load_trie, save_trie
from asr.decode.spelling import Spelling
from asr.decode.word_keys import Keys
from asr.errors import LanguageModelError, TextError
from asr.lexicon import Lexicon
from asr.text import PhoneTokenizer
from lm.backoff import Floats, Ints

__all__ = ["PronouncedWords", "pronounced_words"]


@dataclass(frozen=True)
class _Tables:
    """What follows from lexicon and words, as it is kept in a file.

    Attributes:
        trie: of the tokens of words.
        words: those that the lexicon pronounces.
        places: (W,) where each is among the words that there are.
        entries: (E,) the word of each pronunciation, in the order of the trie's words.
        n_ends: the most words that share a pronunciation.
    """

    trie: Trie
    words: tuple[str, ...]
    places: Ints
    entries: Ints
    n_ends: int


class PronouncedWords:
    """`asr.text.Tokens` for words that are known by their phones; see `pronounced_words`.

    Tokens are the blank, the phones inside words, the ends of words and the phones that begin
    words.

    Args:
        tokenizer: that of the acoustic model, with word ends
        lexicon: pronunciations
        tables: what follows from them
    """

    marks_words = True

    def __init__(self, tokenizer: PhoneTokenizer, lexicon: Lexicon, tables: _Tables) -> None:
        n_phones = tokenizer.n_tokens - 2
        self.columns = _columns(n_phones, tables.n_ends)
        """(V,) the model's token whose log-probability each token has."""
        self.n_tokens = len(self.columns)
        self.symbols = tuple(tokenizer.symbols[token] for token in self.columns)
        self.trie, self.words, self.places = tables.trie, tables.words, tables.places
        self._lexicon, self._entries = lexicon, tables.entries
        self._first_end, self._first_start = n_phones + 1, n_phones + 1 + tables.n_ends
        starts = tuple(token >= self._first_start for token in range(self.n_tokens))
        self.spelling = Spelling(("", *self.symbols[1:]), starts, self.word)
        self._ids = {symbol: index for index, symbol in enumerate(tokenizer.symbols[:-1])}
        self._known: dict[bytes, int] = {}

    def expand(self, log_probs: Tensor) -> Tensor:
        """The model's log-probabilities (..., its tokens) as those of the tokens here, (..., V)."""
        return log_probs[..., self.columns]

    def encode(self, text: str) -> list[int]:
        """The tokens of each word's first pronunciation.

        Raises:
            TextError: a word that is not among those that there are
        """
        return [token for word in text.split() for token in self._spell(word)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The words, with spaces between them."""
        return " ".join(word for word, _, _ in self.split_words(tokens))

    def split_words(self, tokens: Sequence[int]) -> list[tuple[str, int, int]]:
        """Each word with the range of its phones, its end left out."""
        starts = [i for i, token in enumerate(tokens) if token >= self._first_start]
        ranges = itertools.pairwise([*starts, len(tokens)])
        return [(self.word(tokens[start:end]), start, end - 1) for start, end in ranges]

    def unknown(self, text: str) -> list[str]:
        """The words that are not among those that there are."""
        known = set(self.words)
        return [word for word in dict.fromkeys(text.split()) if word not in known]

    def word(self, tokens: Sequence[int]) -> str:
        """The word that tokens stand for."""
        return self.words[self._number(np.array(tokens, np.int32))]

    def keys(self, tokens: Ints, starts: Ints) -> list[Keys]:
        """The numbers of the words of N token sequences; see `asr.decode.word_keys.WordKeys`."""
        found = []
        for first, end in itertools.pairwise(starts.tolist()):
            sequence = tokens[first:end]
            begins = np.flatnonzero(sequence >= self._first_start)
            found.append(np.array([*map(self._number, np.split(sequence, begins)[1:])], np.int64))
        return found

    def _number(self, tokens: Ints) -> int:
        key = tokens.tobytes()
        number = self._known.get(key)
        if number is None:
            node = self._node(tokens)
            first, end = self.trie.nodes["word_start"][node : node + 2] if node > ROOT else (0, 0)
            if first == end:
                raise TextError(f"{[self.symbols[t] for t in tokens.tolist()]} is no word")
            number = int(self._entries[first])
            self._known[key] = number
        return number

    def _node(self, tokens: Ints) -> int:
        """Where a beginning of a word leads, -1 where there is none."""
        nodes, arcs = self.trie.nodes, self.trie.arcs
        node = ROOT
        for token in tokens.tolist():
            first, end = int(nodes["arc_start"][node]), int(nodes["arc_start"][node + 1])
            place = first + int(np.searchsorted(arcs["token"][first:end], token))
            if place == end or arcs["token"][place] != token:
                return -1
            node = int(arcs["node"][place])
        return node

    def _spell(self, word: str) -> list[int]:
        for phones in self._lexicon.pronunciations(word)[:1]:
            first, *rest = (self._ids[phone] for phone in phones)
            tokens = [self._first_start + first - 1, *rest]
            for end in range(self._first_end, self._first_start):
                spelled = [*tokens, end]
                if self._node(np.array(spelled)) > ROOT and self.word(spelled) == word:
                    return spelled
        raise TextError(
            f"the {len(self.words)} words that can be recognised have no {word!r}; take a language "
            "model, and a lexicon, that has it, or leave it out"
        )


def pronounced_words(
    tokenizer: PhoneTokenizer,
    lexicon: Lexicon,
    words: Sequence[str] | None,
    word_ids: Ints,
    log_probs: Floats,
    path: str | os.PathLike[str] | None = None,
) -> PronouncedWords:
    """Make the tokens of words.

    Args:
        tokenizer: that of the acoustic model, with word ends
        lexicon: pronunciations
        words: those that there are, without those that the lexicon cannot pronounce; None for all
            of the lexicon
        word_ids: (W,) the language model's id of each
        log_probs: (W,) for the look-ahead; of words that sound alike the likeliest has end 1
        path: where to keep the tables for the next time

    Raises:
        LanguageModelError: the tokenizer has no word ends, the lexicon has phones that it lacks, or
            pronounces none of the words
    """
    if not tokenizer.marks_words:
        raise LanguageModelError(
            "the model says phones without word ends, and a beam search of words needs those; "
            "train with a tokenizer made by `asr prepare --tokenizer phones --word-ends`"
        )
    made_from = zlib.crc32(repr((tokenizer.symbols, lexicon.checksum)).encode())
    if words is not None:
        for part in ("\n".join(words).encode(), word_ids.tobytes(), log_probs.tobytes()):
            made_from = zlib.crc32(part, made_from)
    tables = None if path is None else _load(path, made_from)
    if tables is None:
        words = lexicon.words if words is None else words
        if not len(word_ids):
            word_ids, log_probs = np.zeros(len(words), np.int32), np.zeros(len(words), np.float32)
        tables = _make(tokenizer, lexicon, words, word_ids, log_probs)
        if path is not None:
            _save(tables, path, made_from)
    return PronouncedWords(tokenizer, lexicon, tables)


def _make(
    tokenizer: PhoneTokenizer,
    lexicon: Lexicon,
    words: Sequence[str],
    word_ids: Ints,
    log_probs: Floats,
) -> _Tables:
    n_phones = tokenizer.n_tokens - 2
    ids = {symbol: index for index, symbol in enumerate(tokenizer.symbols[:-1])}
    if lacking := [phone for phone in lexicon.phones if phone not in ids]:
        raise LanguageModelError(
            f"the lexicon has phones that the model does not say ({', '.join(lacking[:5])}); "
            "use the dictionary, with or without stress, that the model was trained with"
        )
    likeliest = np.argsort(-log_probs, kind="stable").tolist()
    places = [place for place in likeliest if lexicon.pronunciations(words[place])]
    if not places:
        raise LanguageModelError(
            f"the lexicon pronounces none of the {len(words)} words, as {words[:1]}; use a "
            "dictionary of the language model's words in upper case"
        )
    alike: dict[tuple[str, ...], int] = {}
    pronounced = []  # phones, their end's number, the word
    for number, place in enumerate(places):
        for phones in lexicon.pronunciations(words[place]):
            pronounced.append((phones, alike.get(phones, 0), number))
            alike[phones] = alike.get(phones, 0) + 1
    n_ends = max(alike.values())
    first_end, first_start = n_phones + 1, n_phones + 1 + n_ends
    spelled = [
        (first_start + ids[phones[0]] - 1, *[ids[p] for p in phones[1:]], first_end + end)
        for phones, end, _ in pronounced
    ]
    order = sorted(range(len(spelled)), key=spelled.__getitem__)
    entries = np.array([pronounced[index][2] for index in order], np.int32)
    own = np.array(places, np.int32)
    n_tokens = first_start + n_phones
    trie = build_trie(
        [np.array(spelled[index], np.int32) for index in order],
        word_ids[own[entries]],
        log_probs[own[entries]],
        [np.arange(token, token + (token > 0), dtype=np.int32) for token in range(n_tokens)],
        [token >= first_start for token in range(n_tokens)],
    )
    return _Tables(trie, tuple(words[place] for place in places), own, entries, n_ends)


def _load(path: str | os.PathLike[str], made_from: int) -> _Tables | None:
    found = load_trie(path, made_from)
    if found is None:
        return None
    trie, more = found
    words = tuple(more["words"].tobytes().decode().split("\n"))
    return _Tables(trie, words, more["places"], more["entries"], int(more["n_ends"][0]))


def _save(tables: _Tables, path: str | os.PathLike[str], made_from: int) -> None:
    more: dict[str, NDArray[Any]] = {
        "words": np.frombuffer("\n".join(tables.words).encode(), np.uint8),
        "places": tables.places,
        "entries": tables.entries,
        "n_ends": np.array([tables.n_ends], np.int32),
    }
    save_trie(tables.trie, path, made_from, more)


def _columns(n_phones: int, n_ends: int) -> Ints:
    phones = range(1, n_phones + 1)
    return np.array([0, *phones, *[n_phones + 1] * n_ends, *phones], np.int32)
