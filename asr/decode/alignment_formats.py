"""Alignments as text: JSON, CTM, TextGrid."""

import json
from collections.abc import Sequence

from asr.decode.align import AlignedToken, Alignment
from asr.decode.hypothesis import Word

__all__ = ["to_ctm", "to_json", "to_textgrid"]


def to_json(alignment: Alignment, audio_filepath: str) -> str:
    """In one line: words and tokens with times and confidences, and log P(alignment | audio).

    Args:
        alignment: The alignment.
        audio_filepath: The recording's name.
    """
    fields = {
        "audio_filepath": audio_filepath,
        "text": " ".join(word.text for word in alignment.words),
        "score": round(alignment.score, 4),
        "words": [_fields(word) for word in alignment.words],
        "tokens": [_fields(token) for token in alignment.tokens],
    }
    return json.dumps(fields, ensure_ascii=False) + "\n"


def to_ctm(alignment: Alignment, name: str) -> str:
    """A line for each word: recording, channel 1, start, duration, word, confidence.

    Args:
        alignment: The alignment.
        name: Of the recording; white space in it becomes underscores.

    Reference: NIST, SCTK, ctm(5).
    """
    name = "_".join(name.split())
    return "".join(
        f"{name} 1 {word.start:.3f} {word.end - word.start:.3f} {word.text} {word.confidence:.4f}\n"
        for word in alignment.words
    )


def to_textgrid(alignment: Alignment, duration: float) -> str:
    """A TextGrid with the tiers "words" and "tokens"; nothing is said in empty intervals.

    Args:
        alignment: The alignment.
        duration: Of the recording in seconds.

    Reference: Boersma and Weenink, Praat, "TextGrid file formats".
    """
    last = alignment.tokens[-1].end if alignment.tokens else 0.0
    duration = max(duration, last)
    tiers = [_tier(1, "words", alignment.words, duration)]
    tiers.append(_tier(2, "tokens", alignment.tokens, duration))
    head = (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
        f"xmin = 0\nxmax = {_number(duration)}\ntiers? <exists>\nsize = {len(tiers)}\nitem []:\n"
    )
    return head + "".join(tiers)


def _fields(part: Word | AlignedToken) -> dict[str, str | float]:
    # Rounded to what the figures mean: frames are 10 ms and more apart.
    return {
        "text": part.text,
        "start": round(part.start, 3),
        "end": round(part.end, 3),
        "confidence": round(part.confidence, 4),
    }


def _tier(number: int, name: str, parts: Sequence[Word | AlignedToken], duration: float) -> str:
    intervals: list[tuple[str, str, str]] = []
    end = _number(0.0)
    # Compared as they are written: Praat refuses intervals that do not meet or are empty.
    for part in parts:
        start = _number(part.start)
        if start != end:
            intervals.append((end, start, ""))
        end = _number(part.end)
        intervals.append((start, end, part.text.replace('"', '""')))
    if end != _number(duration) or not intervals:
        intervals.append((end, _number(duration), ""))
    lines = [
        f"    item [{number}]:",
        '        class = "IntervalTier"',
        f'        name = "{name}"',
        "        xmin = 0",
        f"        xmax = {_number(duration)}",
        f"        intervals: size = {len(intervals)}",
    ]
    for index, (low, high, text) in enumerate(intervals, start=1):
        lines += [
            f"        intervals [{index}]:",
            f"            xmin = {low}",
            f"            xmax = {high}",
            f'            text = "{text}"',
        ]
    return "\n".join(lines) + "\n"


def _number(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
