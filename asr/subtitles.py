"""Subtitles: words with times become cues of one or two short lines."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from asr.decode.hypothesis import Word

__all__ = ["MAX_CHARACTERS", "MAX_LINES", "Cue", "make_cues"]

MAX_CHARACTERS = 42
"""Characters in a line at most, what most broadcasters ask for."""

MAX_LINES = 2

MAX_SECONDS = 7.0
MIN_SECONDS = 1.0

# A cue costs 1.  Ending one between words that follow each other at once costs so much more,
# nothing after a pause of `_PAUSE`; a longer pause inside a cue costs more than a new cue.
_CUT = 2.0
_PAUSE = 0.5
_LONG_PAUSE = 3.0
_SENTENCE_ENDS = (".", "?", "!", "…")
_CLAUSE_ENDS = (",", ";", ":")


@dataclass(frozen=True)
class Cue:
    """What is shown at a time.

    Attributes:
        start: in whole milliseconds from the start of the recording.
        end: in whole milliseconds, start < end.
        lines: one or two.
    """

    start: int
    end: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The lines in one."""
        return " ".join(self.lines)


def make_cues(words: Sequence[Word], duration: float) -> list[Cue]:
    """Divide words into cues.

    Of all divisions into cues that fit (lines, characters, seconds) the one with the least
    cost is taken, where a cue costs 1 and breaks are dear where nobody pauses:

        cost = sum over cues of 1 + cut(word after which it ends) + long pauses inside

    Cues do not overlap, and lie within the recording.  A short one stays for a second if
    there is time.

    Args:
        words: in order, with times in seconds.
        duration: of the recording in seconds.

    Returns:
        the cues in order; the words in them are all the words.
    """
    words = [part for word in words for part in _fitting(word)]
    limit = math.floor(duration * 1000)
    cues: list[Cue] = []
    for first, last in itertools.pairwise([0, *_divide(words)]):
        start = math.floor(words[first].start * 1000)
        spoken = max(words[last - 1].end, words[first].start + MIN_SECONDS)
        following = math.floor(words[last].start * 1000) if last < len(words) else limit
        end = max(start + 1, min(math.ceil(spoken * 1000), following, limit))
        cues.append(Cue(start, end, _lines(words[first:last])))
    return cues


def _fitting(word: Word) -> list[Word]:
    """Cut a word that is longer than a line."""
    n_parts = -(-len(word.text) // MAX_CHARACTERS)
    if n_parts <= 1:
        return [word]
    step = (word.end - word.start) / n_parts
    return [
        replace(
            word,
            text=word.text[n * MAX_CHARACTERS : (n + 1) * MAX_CHARACTERS],
            start=word.start + n * step,
            end=word.start + (n + 1) * step,
        )
        for n in range(n_parts)
    ]


def _divide(words: Sequence[Word]) -> list[int]:
    """Return the end of each cue, exclusive, at the least cost."""
    gaps = [_pause(words, index) for index in range(len(words))]
    costs, previous = [0.0], [0]
    for end in range(1, len(words) + 1):
        best, chosen = math.inf, end - 1
        inside = 0.0
        for start in range(end - 1, -1, -1):
            if start < end - 1:
                inside += _LONG_PAUSE * max(0.0, gaps[start] - _PAUSE)
                too_long = words[end - 1].end - words[start].start > MAX_SECONDS
                if too_long or not _lines(words[start:end]):
                    break
            cost = costs[start] + 1 + inside + _cut(gaps, end)
            if cost < best:
                best, chosen = cost, start
        costs.append(best)
        previous.append(chosen)
    ends = []
    end = len(words)
    while end:
        ends.append(end)
        end = previous[end]
    return ends[::-1]


def _cut(gaps: Sequence[float], end: int) -> float:
    """Return the cost of a break after word number `end` - 1."""
    return 0.0 if end == len(gaps) else _CUT * max(0.0, 1 - gaps[end - 1] / _PAUSE)


def _pause(words: Sequence[Word], index: int) -> float:
    """Return the seconds of silence after a word; punctuation counts as silence."""
    if index + 1 == len(words):
        return 0.0
    pause = max(0.0, words[index + 1].start - words[index].end)
    if words[index].text.endswith(_SENTENCE_ENDS):
        return max(pause, _PAUSE)
    return max(pause, _PAUSE / 2) if words[index].text.endswith(_CLAUSE_ENDS) else pause


def _lines(words: Sequence[Word]) -> tuple[str, ...]:
    """Set words in one line, else in two of similar length; () where they do not fit."""
    texts = [word.text for word in words]
    line = " ".join(texts)
    if len(line) <= MAX_CHARACTERS:
        return (line,)
    if len(line) > MAX_LINES * MAX_CHARACTERS + 1:
        return ()
    choices = []
    for index in range(1, len(words)):
        upper, lower = " ".join(texts[:index]), " ".join(texts[index:])
        if max(len(upper), len(lower)) <= MAX_CHARACTERS:
            # As much as the whole imbalance that can occur, a pause decides.
            uneven = abs(len(upper) - len(lower)) / MAX_CHARACTERS
            choices.append((uneven - min(_pause(words, index - 1), _PAUSE), (upper, lower)))
    return min(choices)[1] if choices else ()
