"""Hotwords: phrases whose every occurrence, as whole words, earns a bonus.

An automaton (Aho and Corasick 1975) over tokens follows all phrases at once.  While a phrase is
being spelled, the part of its bonus that its beginning has earned keeps the prefix in the beam;
when the phrase breaks off, that part is gone again.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from asr.decode.beam_arrays import Records, make_records
from asr.decode.spelling import Spelling
from asr.errors import ConfigError, TextError
from asr.text import Tokens
from lm.backoff import Ints

__all__ = ["Hotwords", "compile_hotwords"]

# A state's tokens; the start of the sentence counts as the space before the first word.
_State = tuple[int, ...]


class Hotwords(NamedTuple):
    """The arrays of an automaton with S states, of which 0 is the first; V tokens.

    Args:
        following: (S, V) the state after a token
        states: (S,) records: the bonuses of the phrases that are complete if the word ends here,
            `complete`; the bonus that the longest beginning of a phrase has earned, `expected`
    """

    following: Ints
    states: Records


def compile_hotwords(
    bonuses: Mapping[str, float], tokenizer: Tokens, spelling: Spelling
) -> Hotwords:
    """Build the automaton.

    A phrase counts as often as its words occur one after the other; it is matched by the tokens
    that the tokenizer spells it with.

    Args:
        bonuses: what one occurrence of each phrase adds to the score, a natural logarithm
        tokenizer: spells the phrases
        spelling: how its tokens spell words

    Raises:
        ConfigError: a phrase that is empty or that the tokenizer cannot spell, or a bonus below 0
    """
    separators = _separators(spelling)
    start: _State = separators[:1]
    # The trie of the phrases, each after the space (or the sentence's start) before it.
    states: dict[_State, int] = {start: 0}
    states.setdefault((), len(states))
    own_bonus: dict[int, float] = {}
    earned: dict[int, float] = {}
    for phrase, bonus in bonuses.items():
        tokens = _tokens(phrase, bonus, tokenizer)
        for end in range(1, len(tokens) + 1):
            state = states.setdefault((*start, *tokens[:end]), len(states))
            earned[state] = max(bonus * end / len(tokens), earned.get(state, 0.0))
        own_bonus[states[(*start, *tokens)]] = bonus
    following = np.zeros((len(states), tokenizer.n_tokens), np.int32)
    table = make_records((len(states),), {"complete": "f8", "expected": "f8"})
    complete, expected = table["complete"], table["expected"]
    following[states[()]] = states[()]
    # The state of the longest proper suffix of each state's tokens that is a state.
    suffixes: dict[_State, int] = {(): states[()]}
    for tokens in sorted(states, key=len):
        state, suffix = states[tokens], suffixes[tokens]
        if tokens:
            following[state] = following[suffix]
            complete[state] = own_bonus.get(state, 0.0) + complete[suffix]
            expected[state] = max(earned.get(state, 0.0), expected[suffix], complete[state])
        for token in range(1, tokenizer.n_tokens):
            longer = (*tokens, token)
            if longer in states:
                suffixes[longer] = int(following[suffix, token]) if tokens else states[()]
                following[state, token] = states[longer]
    for tokens, state in states.items():
        if tokens[-1:] and tokens[-1] in separators:
            following[state, list(separators)] = state  # several spaces are like one
    for array in (following, table):
        array.setflags(write=False)
    return Hotwords(following, table)


def _separators(spelling: Spelling) -> tuple[int, ...]:
    """Tokens that only end words, where all tokens that end words do only that."""
    ending = [token for token, starts in enumerate(spelling.starts) if starts]
    return tuple(ending) if not any(spelling.texts[token] for token in ending) else ()


def _tokens(phrase: str, bonus: float, tokenizer: Tokens) -> Sequence[int]:
    words = " ".join(phrase.split())
    if not words or not 0 <= bonus < np.inf:
        raise ConfigError(
            f"hotword {phrase!r} with bonus {bonus:g}: one or more words and a finite bonus of at "
            "least 0 are needed"
        )
    try:
        return tokenizer.encode(words)
    except TextError as error:
        raise ConfigError(f"hotword {phrase!r}: {error}") from None
