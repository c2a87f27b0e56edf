"""Transcripts to score: plain lines, sclite's trn, JSON lines; matched by their ids."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from asr.errors import ManifestError
from asr.manifest import read_lines

__all__ = ["TranscriptLine", "match", "read_transcripts"]

_TRN = re.compile(r"(.*?)\s*\(([^()\s]+)\)\s*")
_REFERENCE_KEYS = ("text", "reference")
_HYPOTHESIS_KEYS = ("pred_text", "hypothesis", "text")


@dataclass(frozen=True)
class TranscriptLine:
    """One line of a file to score.

    Args:
        text: what was said or recognised
        id: names the utterance; None in plain text
        speaker: who spoke, where the file says so
    """

    text: str
    id: str | None = None
    speaker: str | None = None


def read_transcripts(path: Path, *, is_reference: bool) -> list[TranscriptLine]:
    """Read transcripts; the lines themselves tell the format.

    JSON lines have the text under `text` (hypotheses: `pred_text`, `hypothesis` or `text`) and
    may have `id` or `audio_filepath`, and `speaker`.  In trn every line ends with `(id)`.  All
    other files are plain text, where an empty line is an empty transcript.

    Raises:
        ManifestError: naming file and line
    """
    lines = read_lines(path)
    if not any(line.strip() for line in lines):
        raise ManifestError(f"{path}: holds no transcripts")
    if next(line for line in lines if line.strip()).lstrip().startswith("{"):
        transcripts = [
            _from_json(line, f"{path}:{number}", is_reference)
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]
        return transcripts
    if path.suffix == ".trn" or all(_TRN.fullmatch(line) for line in lines if line.strip()):
        return [
            _from_trn(line, f"{path}:{number}")
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]
    return [TranscriptLine(line.strip()) for line in lines]


def match(files: Sequence[Sequence[TranscriptLine]]) -> list[list[TranscriptLine]]:
    """Bring the transcripts of all files into the order of the first one.

    Where all files have ids, equal ids belong together; else equal positions.  Of ids that are
    paths only so much of the end counts as tells the utterances of a file apart.

    Raises:
        ManifestError: naming ids that one file lacks or has twice, or different numbers of lines
    """
    first = files[0]
    if not all(line.id is not None for lines in files for line in lines):
        for lines in files[1:]:
            if len(lines) != len(first):
                raise ManifestError(
                    f"{len(first)} references but {len(lines)} hypotheses; without ids on both "
                    "sides one line each is needed"
                )
        return [list(lines) for lines in files]
    tables = _by_id(files)
    wanted = tables[0]
    for table in tables[1:]:
        for here, there, what in (
            (wanted, table, "without hypothesis"),
            (table, wanted, "without reference"),
        ):
            missing = [name for name in here if name not in there]
            if missing:
                shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
                raise ManifestError(f"{len(missing)} utterances {what}: {shown}")
    return [[table[name] for name in wanted] for table in tables]


def _by_id(files: Sequence[Sequence[TranscriptLine]]) -> list[dict[str, TranscriptLine]]:
    deepest = max((line.id or "").count("/") for lines in files for line in lines) + 1
    for depth in range(1, deepest + 1):
        tables: list[dict[str, TranscriptLine]] = []
        for lines in files:
            names = ["/".join((line.id or "").split("/")[-depth:]) for line in lines]
            tables.append(
                {name: replace(line, id=name) for name, line in zip(names, lines, strict=True)}
            )
        if all(len(table) == len(lines) for table, lines in zip(tables, files, strict=True)):
            return tables
    for number, lines in enumerate(files):
        seen: set[str | None] = set()
        for line in lines:
            if line.id in seen:
                side = "references" if number == 0 else "hypotheses"
                raise ManifestError(f"the {side} have utterance {line.id} twice")
            seen.add(line.id)
    raise AssertionError("ids that differ at their full length are told apart")


def _from_trn(line: str, place: str) -> TranscriptLine:
    found = _TRN.fullmatch(line)
    if not found:
        raise ManifestError(f"{place}: no (id) at the end of the line, which trn needs")
    if "{" in found[1]:
        raise ManifestError(f"{place}: alternatives in braces cannot be scored; choose one of them")
    return TranscriptLine(found[1].strip(), found[2])


def _from_json(line: str, place: str, is_reference: bool) -> TranscriptLine:
    try:
        fields: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise ManifestError(
            f"{place}: not JSON ({error.msg}); a JSON object a line is needed"
        ) from None
    if not isinstance(fields, dict):
        raise ManifestError(f"{place}: not a JSON object")
    keys = _REFERENCE_KEYS if is_reference else _HYPOTHESIS_KEYS
    text = next((fields[key] for key in keys if key in fields), None)
    if not isinstance(text, str):
        raise ManifestError(f"{place}: no text; a string under {' or '.join(keys)} is needed")
    name, speaker, offset = (fields.get(key) for key in ("id", "speaker", "offset"))
    if name is None and isinstance(fields.get("audio_filepath"), str):
        name = PurePath(fields["audio_filepath"]).with_suffix("").as_posix()
        if isinstance(offset, int | float) and offset:
            name += f"-{offset:.3f}"
    return TranscriptLine(
        text, None if name is None else str(name), None if speaker is None else str(speaker)
    )
