"""CTC beam search in plain Python: the definition, which the compiled engine is tested against.

The search looks for the token sequence y that maximises

    score(y) = log p_ctc(y | x) + what a scorer gives y

log p_ctc sums over all alignments of y.  It reads the frames once and keeps the best prefixes;
of each it knows two masses, of the alignments that end in a blank and of those that end in the
prefix's last token.  Only the former can be followed by that token as a new one:

    blank'(y)     = (blank(y) + token(y)) P(blank)
    token'(y + k) = token(y + k) P(k) + (blank(y) + (token(y) if k != last(y) else 0)) P(k)

Reference: Graves 2012, Supervised Sequence Labelling with Recurrent Neural Networks, 7.5;
Hannun et al. 2014, First-Pass Large Vocabulary Continuous Speech Recognition.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from asr.decode.spelling import Spelling
from lm.language_model import LanguageModel

__all__ = ["ScoredPrefix", "Scorer", "TokenScorer", "WordScorer", "prefix_beam_search"]

_NEVER = -math.inf
_Prefix = tuple[int, ...]


class Scorer(Protocol):
    """What a search adds to the acoustic score, token by token; states are opaque."""

    def start(self) -> Any:
        """The state of the empty prefix."""

    def score(self, state: Any, token: int) -> tuple[float, Any]:
        """The score that a token adds, -inf to forbid it, and the state after it."""

    def finish(self, state: Any) -> float:
        """The score that ending adds, -inf where nothing may end."""


@dataclass(frozen=True)
class ScoredPrefix:
    """A finished hypothesis: its tokens, score(y) and log p_ctc(y | x)."""

    tokens: tuple[int, ...]
    score: float
    acoustic: float


def prefix_beam_search(
    log_probs: Sequence[Sequence[float]], scorers: Sequence[Scorer] = (), width: int | None = None
) -> list[ScoredPrefix]:
    """Find the best token sequences, best first.

    Args:
        log_probs: (T, V) natural logs; token 0 is the blank
        scorers: each adds to the score; all are asked once per new prefix
        width: prefixes that survive a frame; all without it

    Returns:
        The prefixes of the last frame that may end there.
    """
    start = [scorer.start() for scorer in scorers]
    known: dict[_Prefix, tuple[float, list[Any]]] = {(): (0.0, start)}
    beam: dict[_Prefix, tuple[float, float]] = {(): (0.0, _NEVER)}
    for frame in log_probs:
        following: dict[_Prefix, tuple[float, float]] = {}
        for prefix, (blank, token) in beam.items():
            total = _log_add(blank, token)
            repeated = token + frame[prefix[-1]] if prefix else _NEVER
            _add(following, prefix, total + frame[0], repeated)
            for k in range(1, len(frame)):
                longer = (*prefix, k)
                if longer not in known:
                    known[longer] = _extend(scorers, known[prefix], k)
                if known[longer][0] > _NEVER:
                    before = blank if prefix and prefix[-1] == k else total
                    _add(following, longer, _NEVER, before + frame[k])
        ranks = {p: _log_add(*masses) + known[p][0] for p, masses in following.items()}
        best = sorted((p for p in ranks if ranks[p] > _NEVER), key=ranks.__getitem__, reverse=True)
        beam = {prefix: following[prefix] for prefix in best[:width]}
    finished = []
    for prefix, masses in beam.items():
        added, states = known[prefix]
        ends = sum(scorer.finish(state) for scorer, state in zip(scorers, states, strict=True))
        acoustic = _log_add(*masses)
        finished.append(ScoredPrefix(prefix, acoustic + added + ends, acoustic))
    possible = (hypothesis for hypothesis in finished if hypothesis.score > _NEVER)
    return sorted(possible, key=lambda hypothesis: hypothesis.score, reverse=True)


def _extend(
    scorers: Sequence[Scorer], before: tuple[float, list[Any]], token: int
) -> tuple[float, list[Any]]:
    score, states = before[0], []
    for scorer, state in zip(scorers, before[1], strict=True):
        added, following = scorer.score(state, token)
        score += added
        states.append(following)
    return score, states


def _add(
    beam: dict[_Prefix, tuple[float, float]], prefix: _Prefix, blank: float, token: float
) -> None:
    masses = beam.get(prefix, (_NEVER, _NEVER))
    beam[prefix] = (_log_add(masses[0], blank), _log_add(masses[1], token))


def _log_add(a: float, b: float) -> float:
    larger, smaller = max(a, b), min(a, b)
    return larger if smaller == _NEVER else larger + math.log1p(math.exp(smaller - larger))


class TokenScorer:
    """alpha * log p_lm(y </s>) of a model of tokens.

    Args:
        model: the language model
        ids: the model's id of each token
        alpha: its weight
    """

    def __init__(self, model: LanguageModel, ids: Sequence[int], alpha: float) -> None:
        self._model, self._ids, self._alpha = model, ids, alpha

    def start(self) -> Any:
        """The model's state at the start of a sentence."""
        return self._model.start()

    def score(self, state: Any, token: int) -> tuple[float, Any]:
        """alpha * log P(token | state)."""
        log_prob, state = self._model.step(state, self._ids[token])
        return self._alpha * log_prob, state

    def finish(self, state: Any) -> float:
        """alpha * log P(</s> | state)."""
        return self._alpha * self._model.finish(state)


class WordScorer:
    """alpha * log p_lm(words </s>) + beta * |words|, and which words there may be.

    A word is asked for once, when it is complete.  Until then the prefix has the score of the
    likeliest word that it can become, by the unigrams, taken back when the word is known: the
    sum over a whole sequence is exact, and the beam need not wait for the end of the word.

    Args:
        spelling: how tokens spell words
        model: a language model of words; None for none
        words: the lexicon
        alpha: weight of the language model, not negative
        beta: score of each word
        unknown_score: score of a word outside the lexicon, to which the model gives its
            probability of <unk>; without it the lexicon is closed, no other words may occur
        look_ahead: log-probability of each word, and of "<unk>"; 0 for words it does not have
    """

    def __init__(
        self,
        spelling: Spelling,
        *,
        model: LanguageModel | None = None,
        words: Iterable[str] = (),
        alpha: float = 0.0,
        beta: float = 0.0,
        unknown_score: float | None = None,
        look_ahead: Mapping[str, float] | None = None,
    ) -> None:
        self._spelling = spelling
        self._model = model
        self._alpha, self._beta, self._unknown_score = alpha, beta, unknown_score
        self._words = {word: model.word_id(word) if model else 0 for word in words}
        log_probs = look_ahead or {}
        self._ahead: dict[str, float] = {}  # of each beginning of a word
        for word in self._words:
            score = alpha * log_probs.get(word, 0.0)
            for end in range(1, len(word) + 1):
                self._ahead[word[:end]] = max(score, self._ahead.get(word[:end], _NEVER))
        self._unknown_ahead = _NEVER
        if unknown_score is not None:
            self._unknown_ahead = alpha * log_probs.get("<unk>", 0.0) + unknown_score

    def start(self) -> tuple[str, Any]:
        """The text of the word that is being spelled, and the model's state before it."""
        return "", self._model.start() if self._model else None

    def score(self, state: tuple[str, Any], token: int) -> tuple[float, tuple[str, Any]]:
        """The score of a word that the token ends, and of the beginning that it makes."""
        text, context = state
        added = 0.0
        if text and self._spelling.starts[token]:
            word_score, context = self._word(text, context)
            added = word_score - self._look_ahead(text)
            text = ""
        if self._spelling.texts[token]:
            added += 0.0 if text else self._beta
            added += self._look_ahead(text + self._spelling.texts[token]) - self._look_ahead(text)
            text += self._spelling.texts[token]
        return added, (text, context)

    def finish(self, state: tuple[str, Any]) -> float:
        """The score of the last word and of </s>."""
        text, context = state
        added = 0.0
        if text:
            word_score, context = self._word(text, context)
            added = word_score - self._look_ahead(text)
        return added + (self._alpha * self._model.finish(context) if self._model else 0.0)

    def _word(self, text: str, context: Any) -> tuple[float, Any]:
        known = text in self._words
        if not known and self._unknown_score is None:
            return _NEVER, context
        log_prob = 0.0
        if self._model:
            log_prob, context = self._model.step(context, self._words.get(text, 0))
        return self._alpha * log_prob + (0.0 if known else self._unknown_score or 0.0), context

    def _look_ahead(self, text: str) -> float:
        return max(self._ahead.get(text, _NEVER), self._unknown_ahead) if text else 0.0
