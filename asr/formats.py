"""Transcripts as text files: txt, json, srt, vtt, tsv."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from asr.errors import ConfigError
from asr.subtitles import Cue, make_cues
from asr.transcribe import Transcript

__all__ = ["FORMATS", "json_line", "to_json", "to_srt", "to_tsv", "to_txt", "to_vtt", "write_text"]


def to_txt(transcript: Transcript) -> str:
    """The text alone, in one line."""
    return transcript.text + "\n"


def to_json(transcript: Transcript) -> str:
    """Text, duration, and words with times in seconds and confidences."""
    return json.dumps(_fields(transcript), ensure_ascii=False, indent=1) + "\n"


def json_line(transcript: Transcript, audio_filepath: str) -> str:
    """What `to_json` gives and the file's name in one line, as `asr score` reads it."""
    fields = {"audio_filepath": audio_filepath, **_fields(transcript)}
    return json.dumps(fields, ensure_ascii=False) + "\n"


def to_srt(transcript: Transcript) -> str:
    """SubRip subtitles: number, times with a comma, lines, and an empty line after each cue."""
    return "".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_joined(cue)}\n\n"
        for number, cue in enumerate(_cues(transcript), start=1)
    )


def to_vtt(transcript: Transcript) -> str:
    """WebVTT subtitles.

    Reference: W3C, WebVTT: The Web Video Text Tracks Format, section 4.
    """
    cues = (
        f"\n{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_escaped(_joined(cue))}\n"
        for cue in _cues(transcript)
    )
    return "WEBVTT\n" + "".join(cues)


def to_tsv(transcript: Transcript) -> str:
    """The cues as a table: start and end in whole milliseconds, text; a header above."""
    rows = (f"{cue.start}\t{cue.end}\t{cue.text}\n" for cue in _cues(transcript))
    return "start\tend\ttext\n" + "".join(rows)


FORMATS: Mapping[str, Callable[[Transcript], str]] = {
    "txt": to_txt,
    "json": to_json,
    "srt": to_srt,
    "vtt": to_vtt,
    "tsv": to_tsv,
}
"""The formats by the suffix of their files."""


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: it is there whole, or as it was before.

    Raises:
        ConfigError: it cannot be written.
    """
    writing = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        writing.write_text(text, encoding="utf-8", newline="\n")
        writing.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        writing.unlink(missing_ok=True)


def _fields(transcript: Transcript) -> dict[str, object]:
    # Rounded to what the figures mean: frames are 10 ms and more apart.
    fields: dict[str, object] = {
        "text": transcript.text,
        "duration": round(transcript.duration, 3),
        "words": [
            {
                "text": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "confidence": round(word.confidence, 4),
            }
            for word in transcript.words
        ],
    }
    if transcript.alternatives:
        fields["nbest"] = [
            {
                "text": each.text,
                **{
                    name: round(getattr(each, name), 4)
                    for name in ("score", "acoustic", "ngram", "neural", "bonus")
                    if hasattr(each, name)
                },
            }
            for each in transcript.alternatives
        ]
    return fields


def _cues(transcript: Transcript) -> list[Cue]:
    return make_cues(transcript.words, transcript.duration)


def _joined(cue: Cue) -> str:
    return "\n".join(cue.lines)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(milliseconds: int, mark: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{thousandths:03}"
