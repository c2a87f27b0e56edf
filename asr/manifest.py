"""Manifests: utterances as JSON lines with the field's usual keys."""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import ManifestError

__all__ = ["Utterance", "read_lines", "read_manifest", "write_manifest"]


@dataclass(frozen=True)
class Utterance:
    """One stretch of speech and what was said in it.

    Args:
        audio_filepath: the audio file, absolute once read from a manifest
        duration: length of the stretch in seconds, > 0
        text: the transcript
        speaker: who speaks, where it is known
        offset: where the stretch begins in the file, in seconds
    """

    audio_filepath: Path
    duration: float
    text: str
    speaker: str | None = None
    offset: float = 0.0

    @property
    def id(self) -> str:
        """The file's stem; with the offset in seconds behind it where there is one."""
        stem = self.audio_filepath.stem
        return f"{stem}-{self.offset:.3f}" if self.offset else stem


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, without line ends and byte order mark.

    Only line feeds end a line, so that a form feed or U+2028 in a transcript stays in it.

    Raises:
        ManifestError: the file is missing, is a folder or is not UTF-8
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path}: not UTF-8 text (byte {error.start}); convert it to UTF-8 first"
        ) from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def read_manifest(path: str | os.PathLike[str]) -> list[Utterance]:
    """Read a manifest.

    Each line is a JSON object with `audio_filepath`, `duration` and `text`, and perhaps
    `speaker` and `offset`.  Other keys, which the field's manifests often carry, are
    ignored; so are blank lines.  Relative audio paths start at the manifest's folder.

    Raises:
        ManifestError: naming file and line, when the file cannot be read, a line is not such
            an object, or there is no utterance at all
    """
    path = Path(path)
    folder = Path(os.path.abspath(path)).parent
    utterances = [
        _parse(line, folder, f"{path}:{number}")
        for number, line in enumerate(read_lines(path), start=1)
        if line.strip()
    ]
    if not utterances:
        raise ManifestError(f"{path}: holds no utterances; one JSON object a line is needed")
    return utterances


def write_manifest(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> None:
    """Write a manifest in one step: it is there whole, or as it was before.

    Audio below the manifest's folder is named relative to it, so that both can move together.

    Raises:
        ManifestError: the file cannot be written
    """
    path = Path(path)
    folder = Path(os.path.abspath(path)).parent
    lines = [json.dumps(_fields(u, folder), ensure_ascii=False) + "\n" for u in utterances]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ManifestError(f"{path}: cannot be written ({error.strerror})") from None


def _parse(line: str, folder: Path, place: str) -> Utterance:
    try:
        fields = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise ManifestError(
            f"{place}: not JSON ({reason}); each line needs an object with audio_filepath, "
            "duration and text, as `asr prepare` writes it"
        ) from None
    if not isinstance(fields, dict):
        raise ManifestError(f"{place}: {_shown(fields)} is not an object with audio_filepath, ...")
    audio_filepath = _string(fields, "audio_filepath", place)
    if not audio_filepath or "\0" in audio_filepath:
        raise ManifestError(f"{place}: audio_filepath {audio_filepath!r} is not a path")
    duration = _seconds(fields, "duration", place)
    if duration == 0:
        raise ManifestError(f"{place}: duration is 0; a positive number of seconds is needed")
    speaker = fields.get("speaker")
    if speaker is not None:
        # Corpora that number their speakers often keep the number.
        speaker = str(speaker) if type(speaker) is int else _string(fields, "speaker", place)
    return Utterance(
        audio_filepath=Path(os.path.normpath(folder / audio_filepath)),
        duration=duration,
        text=_string(fields, "text", place),
        speaker=speaker,
        offset=_seconds(fields, "offset", place) if fields.get("offset") is not None else 0.0,
    )


def _string(fields: dict[str, Any], key: str, place: str) -> str:
    if key not in fields:
        raise ManifestError(f"{place}: key {key!r} is missing")
    value = fields[key]
    if not isinstance(value, str):
        raise ManifestError(f"{place}: {key} is {_shown(value)}; a string is needed")
    return value


def _seconds(fields: dict[str, Any], key: str, place: str) -> float:
    if key not in fields:
        raise ManifestError(f"{place}: key {key!r} is missing")
    value = fields[key]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:
        raise ManifestError(f"{place}: {key} is {_shown(value)}; seconds (0 or more) are needed")
    return float(value)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def _fields(utterance: Utterance, folder: Path) -> dict[str, str | float]:
    audio_filepath = Path(os.path.abspath(utterance.audio_filepath))
    if audio_filepath.is_relative_to(folder):
        audio_filepath = audio_filepath.relative_to(folder)
    fields: dict[str, str | float] = {
        "audio_filepath": audio_filepath.as_posix(),
        "duration": utterance.duration,
        "text": utterance.text,
    }
    if utterance.speaker is not None:
        fields["speaker"] = utterance.speaker
    if utterance.offset:
        fields["offset"] = utterance.offset
    return fields
