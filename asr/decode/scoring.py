"""Makes ready what scores the prefixes of a beam: lexicon, n-gram model and hotwords."""

import logging
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from asr.decode.fusion import NO_MODEL, TOKENS, WORDS, Fusion, make_tokens
from asr.decode.hotwords import Hotwords, compile_hotwords
from asr.decode.lexicon_trie import Trie, load_trie, save_trie, trie_of_words
from asr.decode.neural_fusion import NeuralFusion, NeuralTokens
from asr.decode.pronunciations import PronouncedWords, pronounced_words
from asr.decode.spelling import Spelling, spelling_of
from asr.decode.word_fusion import NeuralWords
from asr.errors import ConfigError, LanguageModelError
from asr.lexicon import Lexicon
from asr.text import PhoneTokenizer, Tokenizer, Tokens
from lm.automaton import Automaton
from lm.backoff import UNKNOWN, Floats, Ints
from lm.corpus import SPACE
from lm.neural_model import NeuralLanguageModel
from lm.table import NgramTable
from lm.units import WordUnits
from lm.word_shares import WordShares

__all__ = ["Scoring", "Weights", "make_scoring", "ngram_units", "searched_tokens"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """How much each part of the score counts.

    Attributes:
        alpha: Of the n-gram model's log-probability, at least 0.
        beta: Added for each word; for each token where the tokenizer marks no words.
        gamma: Of the neural model's log-probability, at least 0.
        unknown_score: Added for each word outside the lexicon; None closes the lexicon.
    """

    alpha: float
    beta: float
    gamma: float
    unknown_score: float | None


@dataclass(frozen=True)
class Scoring:
    """Lexicon, n-gram model and hotwords in the tables of the compiled search.

    Attributes:
        spelling: How the tokens spell words.
        trie: The lexicon; empty where there is none.
        automaton: The n-gram model; one that says nothing where there is none.
        units: Of the n-gram model: NO_MODEL, WORDS or TOKENS.
        token_ids: The n-gram model's id of each token.
        unknown_log_prob: Unigram log-probability of words that the n-gram model does not know.
        hotwords: The hotwords.
        words: The lexicon; None where there is none.
        log_probs: (E,) unigram log-probabilities of its words; None without a model of words.
    """

    spelling: Spelling
    trie: Trie
    automaton: Automaton
    units: int
    token_ids: tuple[int, ...]
    unknown_log_prob: float
    hotwords: Hotwords
    words: Sequence[str] | None
    log_probs: Floats | None

    def shares(self, model: NeuralLanguageModel) -> WordShares:
        """What a neural model of words says of the lexicon's words."""
        return WordShares(model, self.words, self.log_probs, self.unknown_log_prob)

    def neural(self, model: NeuralLanguageModel, tokenizer: Tokens) -> NeuralFusion:
        """Make a neural model ready for the beam.

        Raises:
            LanguageModelError: Its units do not fit the tokenizer.
        """
        if isinstance(model.units, WordUnits):
            return NeuralWords(model, self.shares(model), tokenizer, self.spelling)
        return NeuralTokens(model, tokenizer)

    def fusion(self, weights: Weights, neural_units: int = NO_MODEL) -> Fusion:
        """Weigh the parts."""
        has_words = len(self.trie.word_ids) > 0
        unknown_score = weights.unknown_score if has_words else 0.0
        ahead = weights.alpha if self.units == WORDS else 0.0
        if self.units == WORDS and neural_units == WORDS:
            ahead += weights.gamma
        unknown = -np.inf
        if unknown_score is not None:
            unknown = unknown_score + ahead * self.unknown_log_prob
        tokens = make_tokens(self.spelling, self.trie, self.token_ids, ahead, weights.beta, unknown)
        n_hotword_states = len(self.hotwords.states)
        return Fusion(
            trie=self.trie,
            automaton=self.automaton,
            hotwords=self.hotwords,
            tokens=tokens,
            alpha=float(weights.alpha),
            beta=float(weights.beta),
            gamma=float(weights.gamma),
            ahead=float(ahead),
            unknown_score=float(unknown_score or 0.0),
            unknown_expected=float(unknown),
            closed=unknown_score is None,
            ngram_units=self.units,
            neural_units=neural_units,
            simple=self.units != TOKENS and neural_units != TOKENS and n_hotword_states <= 2,
            token_bound=_largest_gain(self.hotwords, self.spelling),
            start_bound=float(tokens["gain"][1:].max(initial=-np.inf)),
        )


def searched_tokens(
    tokenizer: Tokenizer,
    *,
    table: NgramTable | None = None,
    words: Sequence[str] | None = None,
    hotwords: Mapping[str, float] | None = None,
    lexicon_file: str | os.PathLike[str] | None = None,
    pronunciations: Lexicon | None = None,
) -> Tokens:
    """What the search knows as tokens: the acoustic model's, or `PronouncedWords`.

    Args:
        tokenizer: That of the acoustic model.
        table: An n-gram model.
        words: The lexicon; without it the words of a word model, else those with pronunciations.
        hotwords: Phrases, whose words the lexicon gets where it lacks them.
        lexicon_file: Where to keep the lexicon's tables for the next time.
        pronunciations: For phones with word ends; without them those of the tokenizer.

    Raises:
        LanguageModelError: If tokenizer and pronunciations do not fit.
        ConfigError: If pronunciations are given where nothing needs them.
    """
    if not isinstance(tokenizer, PhoneTokenizer):
        if pronunciations:
            raise ConfigError(
                "a pronouncing dictionary, but the model does not say phones; leave it out, or "
                "give a list of words"
            )
        return tokenizer
    if not (tokenizer.marks_words or pronunciations or words):
        return tokenizer
    lexicon = pronunciations or tokenizer.lexicon
    known = _words(table, words, hotwords)
    lacking = [word for word in _words_of(hotwords) if not lexicon.pronunciations(word)]
    if lacking and tokenizer.pronouncer:
        lexicon = lexicon.with_words(tokenizer.pronouncer.pronunciations(lacking))
    file = None if lacking or known.n_new else lexicon_file
    return pronounced_words(tokenizer, lexicon, known.words, known.ids, known.log_probs, file)


def make_scoring(
    tokenizer: Tokens,
    *,
    table: NgramTable | None = None,
    words: Sequence[str] | None = None,
    hotwords: Mapping[str, float] | None = None,
    lexicon_file: str | os.PathLike[str] | None = None,
) -> Scoring:
    """Build the tables.

    Args:
        tokenizer: See `searched_tokens`.
        table: An n-gram model of words or of the tokenizer's tokens.
        words: The lexicon; without it the words of a word model.
        hotwords: The bonus of each phrase; a lexicon gets those words of them that it lacks.
        lexicon_file: Where to keep the lexicon's tables for the next time.

    Raises:
        LanguageModelError: If the model's units or the words do not fit the tokenizer.
        ConfigError: If a hotword cannot be spelled.
    """
    trie: Trie | None = None
    if isinstance(tokenizer, PronouncedWords):
        spelling, trie = tokenizer.spelling, tokenizer.trie
        units = NO_MODEL if table is None else WORDS
    else:
        spelling = spelling_of(tokenizer)
        units = NO_MODEL if table is None else ngram_units(table, tokenizer, spelling)
    known = _words(table if units == WORDS else None, words, hotwords)
    words, log_probs = known.words, known.log_probs
    if isinstance(tokenizer, PronouncedWords):
        words = tokenizer.words
        log_probs = log_probs[tokenizer.places] if units == WORDS else log_probs
    elif words and not tokenizer.marks_words:
        raise LanguageModelError(
            "a lexicon of words, but the tokenizer does not mark where words end; use a tokenizer "
            "of characters with a space or of word pieces"
        )
    token_ids = [0] * tokenizer.n_tokens
    if table is not None and units == TOKENS:
        token_ids = [table.word_id(SPACE if s == " " else s) for s in tokenizer.symbols]
    if trie is None:
        file = None if known.n_new else lexicon_file
        trie = _lexicon(list(words or ()), known.ids, log_probs, spelling, file)
    return Scoring(
        spelling=spelling,
        trie=trie,
        automaton=_no_automaton() if table is None else _decoded(table),
        units=units,
        token_ids=tuple(token_ids),
        unknown_log_prob=0.0 if table is None else float(_unigrams(table)[UNKNOWN]),
        hotwords=compile_hotwords(hotwords or {}, tokenizer, spelling),
        words=words,
        log_probs=log_probs if units == WORDS else None,
    )


def ngram_units(table: NgramTable, tokenizer: Tokens, spelling: Spelling) -> int:
    """Whether a model is one of WORDS that the tokenizer can spell or one of its TOKENS.

    Raises:
        LanguageModelError: It is neither.
    """
    symbols = {SPACE if symbol == " " else symbol for symbol in tokenizer.symbols[1:]}
    starting = {
        SPACE if tokenizer.symbols[token] == " " else tokenizer.symbols[token]
        for token, starts in enumerate(spelling.starts)
        if starts
    }
    units = table.vocabulary[3:]
    known = set(units)
    if known and known <= symbols and known & starting:
        return TOKENS
    characters = set("".join(spelling.texts))
    n_spelled = len(units)
    if not characters.issuperset("".join(units)):
        n_spelled = sum(map(characters.issuperset, units))
    if tokenizer.marks_words and 2 * n_spelled > len(units):
        return WORDS
    examples = ", ".join(map(repr, units[:3]))
    tokens = ", ".join(map(repr, tokenizer.symbols[1:6]))
    raise LanguageModelError(
        f"the language model's units ({examples}, ...) do not fit the tokenizer ({tokens}, ...): "
        f"it can spell {n_spelled} of {len(units)}"
        + ("" if tokenizer.marks_words else " and does not mark where words end")
        + "; train a model on text as the transcripts are written (`python -m lm train "
        "--normalize`), or of the tokenizer's tokens (--tokenizer)"
    )


def _lexicon(
    words: Sequence[str],
    word_ids: Ints,
    log_probs: Floats,
    spelling: Spelling,
    path: str | os.PathLike[str] | None,
) -> Trie:
    made_from = zlib.crc32(repr((spelling.texts, spelling.starts)).encode())
    for part in ("\n".join(words).encode(), word_ids.tobytes(), log_probs.tobytes()):
        made_from = zlib.crc32(part, made_from)
    found = None if path is None else load_trie(path, made_from)
    if found is not None:
        return found[0]
    trie, n_left_out = trie_of_words(words, word_ids, log_probs, spelling)
    if words and n_left_out == len(words):
        raise LanguageModelError(
            f"the tokenizer can spell none of the {len(words)} words of the lexicon, as "
            f"{words[0]!r}; write them as the transcripts are written"
        )
    if n_left_out:
        _logger.info("%d of %d words cannot be spelled", n_left_out, len(words))
    if path is not None:
        save_trie(trie, path, made_from)
    return trie


class _Words(NamedTuple):
    """The words that can be recognised; None: any.

    Attributes:
        words: Each once.
        ids: (E,) the n-gram model's id of each.
        log_probs: (E,) its unigrams.
        n_new: How many, at the end, only the hotwords have.
    """

    words: Sequence[str] | None
    ids: Ints
    log_probs: Floats
    n_new: int


def _words(
    table: NgramTable | None, words: Sequence[str] | None, hotwords: Mapping[str, float] | None
) -> _Words:
    """The lexicon's words, by default those of a word model, and those of the hotwords."""
    ids = None
    if words is None and table is not None:
        words, ids = table.vocabulary[3:], np.arange(3, table.n_words, dtype=np.int32)
    if words is None:
        return _Words(None, np.zeros(0, np.int32), np.zeros(0, np.float32), 0)
    if new := _words_of(hotwords):
        known = set(words)
        new = [word for word in new if word not in known]
        words = [*words, *new]
    if table is None:
        return _Words(
            words, np.zeros(len(words), np.int32), np.zeros(len(words), np.float32), len(new)
        )
    if ids is None:
        ids = np.array([table.word_id(word) for word in words], np.int32)
    else:
        ids = np.concatenate([ids, np.full(len(new), UNKNOWN, np.int32)])
    return _Words(words, ids, _unigrams(table)[ids], len(new))


def _words_of(hotwords: Mapping[str, float] | None) -> list[str]:
    return list(dict.fromkeys(word for phrase in hotwords or () for word in phrase.split()))


def _decoded(table: NgramTable) -> Automaton:
    """A table's arrays, not quantised: one compiled search serves all tables."""
    if table.bits == 32:
        return table.automaton
    automaton = table.automaton._replace(
        arc_log_probs=table.arc_log_probs(), codebook=np.zeros(0, np.float32)
    )
    for array in automaton:
        array.setflags(write=False)
    return automaton


def _unigrams(table: NgramTable) -> Floats:
    values = table.automaton.arc_log_probs[: table.n_words]
    if values.dtype == np.float32:
        return values.astype(np.float32)
    return table.automaton.codebook[values]


def _no_automaton() -> Automaton:
    """An automaton for compiled functions that will not ask it."""
    integers, floats = np.zeros(2, np.int32), np.zeros(2, np.float32)
    for array in (integers, floats):
        array.setflags(write=False)
    return Automaton(integers, integers, floats, floats, integers, floats, integers, floats)


def _largest_gain(hotwords: Hotwords, spelling: Spelling) -> float:
    """The most that one token adds for hotwords."""
    following, states = hotwords
    gains = states["expected"][following] - states["expected"][:, None]
    gains += np.outer(states["complete"], spelling.starts)
    return float(gains[:, 1:].max(initial=0.0))
