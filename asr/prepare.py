"""From corpora in their own layouts to utterances: LibriSpeech, folders, tables, Kaldi."""

import csv
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.audio import AUDIO_SUFFIXES, find
from asr.check import measure
from asr.errors import AsrError, ManifestError
from asr.manifest import Utterance, read_lines

__all__ = [
    "Options",
    "from_folder",
    "from_kaldi",
    "from_librispeech",
    "from_table",
]

logger = logging.getLogger(__name__)

_AUDIO_COLUMNS = (
    "audio_filepath",
    "path",
    "audio",
    "audio_path",
    "file",
    "file_name",
    "filename",
    "file_path",
    "filepath",
    "wav",
    "wav_filename",
    "wav_path",
)
_TEXT_COLUMNS = (
    "normalized_text",
    "normalized_transcription",
    "sentence",
    "transcript",
    "transcription",
    "text",
)
_SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id", "spk", "spk_id")
# Where Common Voice and LJSpeech keep the audio, seen from the table's folder.
_AUDIO_FOLDERS = ("", "clips", "wavs")


@dataclass(frozen=True)
class Options:
    """What all sources have in common.

    Args:
        transform: makes the manifest's text from the corpus's, e.g. `asr.text.normalize`
        skip_bad: leave out what cannot be used, with a warning each, instead of refusing all
        progress: called with (files measured, files in all) now and then
    """

    transform: Callable[[str], str] = str
    skip_bad: bool = False
    progress: Callable[[int, int], None] | None = None


@dataclass(frozen=True)
class _Entry:
    """An utterance whose file has not been looked at; `end` None is the end of the file."""

    audio_filepath: Path
    text: str
    speaker: str | None = None
    offset: float = 0.0
    end: float | None = None


def from_librispeech(
    folder: str | os.PathLike[str], options: Options | None = None
) -> list[Utterance]:
    """The utterances of a LibriSpeech folder: SPEAKER/CHAPTER/ID.flac beside *.trans.txt.

    Args:
        folder: a subset such as train-clean-100, or a folder of subsets; any audio format
        options: see `Options`

    Raises:
        ManifestError: no transcripts there, audio without transcript or the other way round
    """
    options = options or Options()
    transcripts = sorted(Path(folder).rglob("*.trans.txt"))
    if not transcripts:
        raise ManifestError(
            f"{folder}: no *.trans.txt below it; the LibriSpeech layout is "
            "SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt with the audio beside it"
        )
    entries: list[_Entry] = []
    bad: list[str] = []
    for path in transcripts:
        audio = {file.stem: file for file in _audio_beside(path)}
        for number, line in enumerate(read_lines(path), start=1):
            name, _, text = line.strip().partition(" ")
            if not name:
                continue
            if name in audio:
                entries.append(_Entry(audio.pop(name), text, speaker=name.split("-")[0]))
            else:
                bad.append(f"{path}:{number}: no audio file {name}.* beside it, or listed twice")
        bad.extend(f"{file}: no transcript in {path.name}" for file in sorted(audio.values()))
    return _measured(entries, bad, folder, options)


def from_folder(
    folder: str | os.PathLike[str],
    options: Options | None = None,
    *,
    speaker_from_parent: bool = False,
) -> list[Utterance]:
    """The utterances of a folder in which NAME.txt holds the transcript of NAME.wav.

    A text without audio (it may be a README.txt) only gives a warning.

    Args:
        folder: searched with all folders below it; any audio format
        options: see `Options`
        speaker_from_parent: the name of the folder that a file lies in is its speaker

    Raises:
        AudioError: no audio there
        ManifestError: audio without transcript
    """
    options = options or Options()
    entries: list[_Entry] = []
    bad: list[str] = []
    transcripts = set(Path(folder).rglob("*.txt"))
    for file in find(Path(folder)):
        transcript = file.with_suffix(".txt")
        if transcript not in transcripts:
            bad.append(f"{file}: no transcript {transcript.name} beside it")
            continue
        speaker = file.parent.name if speaker_from_parent else None
        entries.append(_Entry(file, " ".join(read_lines(transcript)).strip(), speaker))
    used = {entry.audio_filepath.with_suffix(".txt") for entry in entries}
    for path in sorted(transcripts - used):
        logger.warning("%s: no audio beside this text", path)
    return _measured(entries, bad, folder, options)


def from_table(
    path: str | os.PathLike[str],
    options: Options | None = None,
    *,
    audio_folder: str | os.PathLike[str] | None = None,
    columns: Sequence[str | None] = (None, None, None),
) -> list[Utterance]:
    """The utterances of a table: Common Voice TSV, LJSpeech metadata.csv, any CSV or TSV.

    Tabs, `|`, `;` or commas part the columns, as the first line tells.  The first line names
    them; only LJSpeech's `id|text|normalised text` does without.  Audio is looked for in the
    table's folder and in clips/ and wavs/ beside it, with another audio suffix where the
    named one is not there.

    Args:
        path: the table
        options: see `Options`
        audio_folder: where the audio lies instead
        columns: names of the audio, text and speaker columns instead of the usual ones

    Raises:
        ManifestError: naming table and line, for unknown columns, short lines, missing audio
    """
    options = options or Options()
    path = Path(path)
    table = _read_table(path, columns)
    roots = [Path(audio_folder)] if audio_folder else [path.parent / n for n in _AUDIO_FOLDERS]
    listings: dict[Path, dict[str, Path]] = {}
    entries: list[_Entry] = []
    bad: list[str] = []
    for number, name, text, speaker in table:
        file = _locate(name, roots, listings)
        if file is None:
            bad.append(f"{path}:{number}: no audio file {name}")
        else:
            entries.append(_Entry(file, text, speaker))
    return _measured(entries, bad, path, options)


def from_kaldi(folder: str | os.PathLike[str], options: Options | None = None) -> list[Utterance]:
    """The utterances of a Kaldi data folder: wav.scp and text, perhaps utt2spk and segments.

    Relative audio paths start at the working directory, as in Kaldi, or else at the folder.

    Raises:
        ManifestError: naming file and line, for missing files, commands in wav.scp (they are
            not run), unknown ids, audio without text and the other way round
    """
    options = options or Options()
    folder = Path(folder)
    recordings = {
        name: _kaldi_audio(folder, number, name, value)
        for name, (number, value) in _kaldi_table(folder / "wav.scp").items()
    }
    texts = _kaldi_table(folder / "text")
    speakers = _kaldi_table(folder / "utt2spk") if (folder / "utt2spk").exists() else {}
    if (folder / "segments").exists():
        segments = _kaldi_segments(folder / "segments", recordings)
    else:
        segments = {name: (file, 0.0, None) for name, file in recordings.items()}
    entries: list[_Entry] = []
    bad: list[str] = []
    for name, (file, start, end) in segments.items():
        if name not in texts:
            bad.append(f"{folder / 'text'}: no line for utterance {name}")
            continue
        _, text = texts[name]
        speaker = speakers[name][1] if name in speakers else None
        entries.append(_Entry(file, text, speaker, start, end))
    bad.extend(
        f"{folder / 'text'}:{number}: no audio for utterance {name}"
        for name, (number, _) in texts.items()
        if name not in segments
    )
    return _measured(entries, bad, folder, options)


def _measured(
    entries: list[_Entry], bad: list[str], source: str | os.PathLike[str], options: Options
) -> list[Utterance]:
    """Give every entry its duration; refuse or leave out what cannot be used."""
    found = measure((entry.audio_filepath for entry in entries), options.progress)
    utterances: list[Utterance] = []
    for entry in entries:
        info = found[entry.audio_filepath]
        if isinstance(info, AsrError):
            bad.append(str(info))
            continue
        end = info.duration if entry.end is None else entry.end
        if not entry.offset < end <= info.duration + 0.1:
            bad.append(
                f"{entry.audio_filepath}: segment {entry.offset:g} to {end:g} s does not lie "
                f"within its {info.duration:g} s"
            )
            continue
        duration = round(min(end, info.duration) - entry.offset, 6)
        text = options.transform(entry.text)
        utterances.append(
            Utterance(entry.audio_filepath, duration, text, entry.speaker, entry.offset)
        )
    _report(bad, source, options)
    if not utterances:
        raise ManifestError(f"{source}: no utterance can be used")
    return utterances


def _report(bad: list[str], source: str | os.PathLike[str], options: Options) -> None:
    if not bad:
        return
    if options.skip_bad:
        for line in bad:
            logger.warning("left out: %s", line)
        return
    shown = "; ".join(bad[:3]) + ("; ..." if len(bad) > 3 else "")
    raise ManifestError(
        f"{source}: {len(bad)} utterances cannot be used: {shown} (mend them or leave them out "
        "with --skip-bad)"
    )


def _audio_beside(path: Path) -> Iterator[Path]:
    return (file for file in path.parent.iterdir() if file.suffix.lower() in AUDIO_SUFFIXES)


def _read_table(
    path: Path, columns: Sequence[str | None]
) -> list[tuple[int, str, str, str | None]]:
    """(line number, audio, text, speaker) of every row."""
    lines = read_lines(path)
    if not lines:
        raise ManifestError(f"{path}: is empty; a header line and one line per file are needed")
    delimiter = max("\t|;,", key=lines[0].count)
    # Quotes are part of the text in Common Voice and LJSpeech; only real CSV escapes with them.
    reader = csv.reader(
        (line + "\n" for line in lines),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if delimiter in "\t|" else csv.QUOTE_MINIMAL,
    )
    header = [name.strip(' "').lower() for name in lines[0].split(delimiter)]
    audio, text, speaker = (
        _column(path, header, wanted, usual)
        for wanted, usual in zip(
            columns, (_AUDIO_COLUMNS, _TEXT_COLUMNS, _SPEAKER_COLUMNS), strict=True
        )
    )
    if audio is None and text is None and delimiter == "|" and len(header) in (2, 3):
        audio, text, width = 0, len(header) - 1, len(header)
    elif audio is None or text is None:
        what, usual = ("audio", _AUDIO_COLUMNS) if audio is None else ("text", _TEXT_COLUMNS)
        raise ManifestError(
            f"{path}:1: no {what} column among {', '.join(header)[:80]!r}; one named "
            f"{', '.join(usual[:4])} or the like is needed, or name it"
        )
    else:
        next(reader)
        width = len(header)
    rows: list[tuple[int, str, str, str | None]] = []
    try:
        for row in reader:
            if not any(row):
                continue
            if len(row) != width:
                raise ManifestError(
                    f"{path}:{reader.line_num}: {len(row)} columns; {width} are needed as in line 1"
                )
            who = row[speaker].strip() if speaker is not None else ""
            known = None if who.lower() in ("", "unknown") else who
            rows.append((reader.line_num, row[audio].strip(), row[text].strip(), known))
    except csv.Error as error:
        raise ManifestError(
            f"{path}:{reader.line_num}: not a table ({error}); a quote may be left open"
        ) from None
    return rows


def _column(
    path: Path, header: list[str], wanted: str | None, usual: tuple[str, ...]
) -> int | None:
    if wanted is None:
        return next((header.index(name) for name in usual if name in header), None)
    if wanted.lower() not in header:
        raise ManifestError(f"{path}:1: no column {wanted!r} among {', '.join(header)[:80]!r}")
    return header.index(wanted.lower())


def _locate(name: str, roots: list[Path], listings: dict[Path, dict[str, Path]]) -> Path | None:
    """The file that a table means, perhaps with another audio suffix."""
    for root in roots:
        path = root / name
        if path.parent not in listings:
            files = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
            by_name = {f.stem: f for f in files if f.suffix.lower() in AUDIO_SUFFIXES}
            listings[path.parent] = by_name | {f.name: f for f in files}
        listing = listings[path.parent]
        stem = path.stem if path.suffix.lower() in AUDIO_SUFFIXES else path.name
        file = listing.get(path.name) or listing.get(stem)
        if file is not None and file.suffix.lower() in AUDIO_SUFFIXES:
            return file
    return None


def _kaldi_table(path: Path) -> dict[str, tuple[int, str]]:
    """Line number and value for each key of a Kaldi text file."""
    table: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        name, _, value = line.strip().replace("\t", " ").partition(" ")
        if name in table:
            raise ManifestError(f"{path}:{number}: {name} occurs twice")
        if name:
            table[name] = (number, value.strip())
    if not table:
        raise ManifestError(f"{path}: is empty; lines of an id and its value are needed")
    return table


def _kaldi_audio(folder: Path, number: int, name: str, value: str) -> Path:
    place = f"{folder / 'wav.scp'}:{number}"
    if value.endswith("|") or value.startswith("|") or value == "-":
        raise ManifestError(
            f"{place}: {name} is a command ({value[:60]}), which is not run; write its output "
            "to a file and name that"
        )
    if not value:
        raise ManifestError(f"{place}: {name} has no audio file behind it")
    path = Path(value)
    return path if path.is_absolute() or path.exists() else folder / path


def _kaldi_segments(
    path: Path, recordings: dict[str, Path]
) -> dict[str, tuple[Path, float, float | None]]:
    segments: dict[str, tuple[Path, float, float | None]] = {}
    for name, (number, value) in _kaldi_table(path).items():
        try:
            recording, start, end = value.split()
            offset, until = float(start), float(end)
        except ValueError:
            raise ManifestError(
                f"{path}:{number}: {value!r}; recording, start and end in seconds are needed"
            ) from None
        if recording not in recordings:
            raise ManifestError(f"{path}:{number}: recording {recording} is not in wav.scp")
        segments[name] = (recordings[recording], offset, None if until < 0 else until)
    return segments
