"""`asr transcribe`: recordings into text."""

import argparse
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from asr.commands.model_options import (
    add_decoding_options,
    add_model_options,
    load_transcriber,
)
from asr.commands.progress_bar import ProgressBar
from asr.errors import AsrError, AudioError, ConfigError

if TYPE_CHECKING:
    from asr.transcribe import Transcript

__all__ = ["HELP", "configure", "run"]

HELP = "turn recordings into text, subtitles or JSON"

_FORMATS = ("txt", "json", "srt", "vtt", "tsv")

_EPILOG = """\
Without --output-dir the result goes to standard output: the text of one recording alone, of
several a line each (PATH, tab, text), or with --format json a line of JSON each.  With
--output-dir D it goes to D/NAME.FORMAT, where NAME is the recording's name without suffix;
where these are equal, the names of parent folders stand in front (FOLDER-NAME).
Recordings that cannot be read are named on standard error, the rest is done, and the exit
code is 2.

  asr transcribe talk.mp3
  asr transcribe recordings/ --output-dir transcripts --format txt,srt
  ffmpeg -i film.mkv -f wav - | asr transcribe - --format srt > film.srt
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="recordings, folders (searched for audio), or - for standard input",
    )
    parser.add_argument(
        "--format",
        dest="formats",
        metavar="FORMAT",
        action="append",
        help=f"{', '.join(_FORMATS)}; several with commas or repeated (default: txt)",
    )
    parser.add_argument("--output-dir", metavar="DIR", help="write files there; made if need be")
    parser.add_argument(
        "--case",
        choices=["lower", "upper", "model"],
        default="lower",
        help="letters of the output; model leaves them as the model writes (default: lower)",
    )
    add_model_options(parser)
    add_decoding_options(parser)
    parser.add_argument(
        "--nbest",
        metavar="N",
        type=int,
        default=1,
        help="hypotheses of each recording in the JSON, with their scores (default: 1)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Transcribe."""
    sources = _sources(arguments.files)
    formats = _formats(arguments.formats or ["txt"])
    output: _Files | _StandardOutput
    if arguments.output_dir is None:
        output = _StandardOutput(sources, formats)
    else:
        output = _Files(sources, formats, Path(arguments.output_dir))
    if arguments.nbest < 1:
        raise ConfigError(f"--nbest {arguments.nbest}: 1 or more is needed")
    if arguments.nbest > 1 and formats != ["json"]:
        raise ConfigError(f"--nbest {arguments.nbest} needs --format json")
    transcriber = load_transcriber(arguments, n_best=arguments.nbest)
    failed = 0
    with ProgressBar(len(sources), lambda: _total_seconds(sources)) as bar:
        for index, result in transcriber.transcribe_each(
            sources, case=arguments.case, on_progress=bar.advance
        ):
            if isinstance(result, AsrError):
                failed += 1
                bar.write_error(result)
                bar.write(output.take(index, None))
            else:
                bar.write(output.take(index, result))
            bar.count()
    return AsrError.exit_code if failed else 0


class _StandardOutput:
    """Prints transcripts in the order of the recordings."""

    def __init__(self, sources: Sequence[str], formats: Sequence[str]) -> None:
        if len(formats) > 1:
            raise ConfigError(f"--format {','.join(formats)}: several formats need --output-dir")
        (self._format,) = formats
        if len(sources) > 1 and self._format not in ("txt", "json"):
            raise ConfigError(
                f"--format {self._format} for {len(sources)} recordings needs --output-dir"
            )
        self._sources = sources
        self._waiting: dict[int, str] = {}
        self._next = 0

    def take(self, index: int, transcript: "Transcript | None") -> str:
        """Return what is to be printed after a recording is done; None for one that failed."""
        self._waiting[index] = self._show(index, transcript) if transcript else ""
        ready = []
        while self._next in self._waiting:
            ready.append(self._waiting.pop(self._next))
            self._next += 1
        return "".join(ready)

    def _show(self, index: int, transcript: "Transcript") -> str:
        from asr.formats import FORMATS, json_line

        if self._format == "json":
            return json_line(transcript, self._sources[index])
        text = FORMATS[self._format](transcript)
        return text if len(self._sources) == 1 else f"{self._sources[index]}\t{text}"


class _Files:
    """Writes a file for each recording and format."""

    def __init__(self, sources: Sequence[str], formats: Sequence[str], folder: Path) -> None:
        self._formats = formats
        self._paths = [folder / name for name in _output_names(sources)]
        inputs = {os.path.realpath(source) for source in sources if source != "-"}
        for path in self._paths:
            for suffix in formats:
                output = path.with_name(f"{path.name}.{suffix}")
                if os.path.realpath(output) in inputs:
                    raise ConfigError(
                        f"{output}: is a recording to be transcribed and would be overwritten; "
                        "choose another --output-dir"
                    )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--output-dir {folder}: {error.strerror}") from None

    def take(self, index: int, transcript: "Transcript | None") -> str:
        """Write the files of a recording; nothing is to be printed."""
        from asr.formats import FORMATS, write_text

        if transcript:
            path = self._paths[index]
            for suffix in self._formats:
                write_text(path.with_name(f"{path.name}.{suffix}"), FORMATS[suffix](transcript))
        return ""


def _sources(names: Sequence[str]) -> list[str]:
    """Return the recordings that the arguments stand for, each once."""
    from asr.audio import find

    sources: list[str] = []
    for name in names:
        sources += map(str, find(name)) if os.path.isdir(name) else [name]
    unique: dict[str, str] = {}
    for name in sources:
        unique.setdefault(name if name == "-" else os.path.abspath(name), name)
    return list(unique.values())


def _formats(values: Sequence[str]) -> list[str]:
    formats = [name.strip() for value in values for name in value.split(",")]
    unknown = [name for name in formats if name not in _FORMATS]
    if unknown:
        raise ConfigError(f"--format {unknown[0] or ','}: choose from {', '.join(_FORMATS)}")
    return list(dict.fromkeys(formats))


def _output_names(sources: Sequence[str]) -> list[str]:
    """Return a name for each recording: its stem, with parent folders where stems are equal.

    Raises:
        ConfigError: that does not tell two recordings apart.
    """
    paths = [Path("stdin" if source == "-" else os.path.abspath(source)) for source in sources]
    siblings = Counter(path.with_suffix("") for path in paths)
    stems = [path.name if siblings[path.with_suffix("")] > 1 else path.stem for path in paths]
    depths = [0] * len(paths)
    while True:
        names = [
            "-".join([*path.parts[1:-1][max(0, len(path.parts) - 2 - depth) :], stem])
            for path, stem, depth in zip(paths, stems, depths, strict=True)
        ]
        # Some file systems do not tell upper from lower case.
        counts = Counter(name.casefold() for name in names)
        equal = [n for n, name in enumerate(names) if counts[name.casefold()] > 1]
        deeper = [n for n in equal if depths[n] < len(paths[n].parts) - 2]
        if not deeper:
            break
        for n in deeper:
            depths[n] += 1
    if len(set(names)) < len(names):
        name = Counter(names).most_common(1)[0][0]
        raise ConfigError(f"--output-dir: two recordings would be written to {name}; rename one")
    return names


def _total_seconds(sources: Iterable[str]) -> float | None:
    """Return the length of all recordings; None where it cannot be known beforehand."""
    from asr.audio import inspect

    total = 0.0
    for source in sources:
        if not os.path.isfile(source):
            return None
        with suppress(AudioError):  # named when its turn comes
            total += inspect(source).duration
    return total
