"""`asr align`: when each word and token of a known text was said."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr.commands.model_options import add_model_options, load_recognizer
from asr.commands.progress_bar import ProgressBar
from asr.errors import AsrError, ConfigError

if TYPE_CHECKING:
    from asr.decode.align import Alignment
    from asr.manifest import Utterance
    from asr.transcribe import Transcriber

__all__ = ["HELP", "configure", "run"]

HELP = "times of the words and tokens of a known text"

_FORMATS = ("json", "ctm", "TextGrid", "srt")

_EPILOG = """\
Where the model writes upper case only, the text is brought to upper case without punctuation,
numbers as words (English), before it is aligned; words are written as they stood in the text.
Times are in seconds from the start of the recording, for an utterance of a manifest from the
start of the utterance.
Without --output-dir the result goes to standard output, of a manifest a line of JSON for each
utterance, or one CTM.  With --output-dir D it goes to D/NAME.FORMAT.
Utterances that cannot be read, or whose text does not fit into their audio, are named on standard
error, the rest is done, and the exit code is 2.

  asr align talk.mp3 talk.txt --format srt > talk.srt
  asr align train.jsonl --output-dir alignments --format TextGrid,ctm
"""


@dataclass(frozen=True)
class _Job:
    """A recording and its text."""

    audio: "str | Utterance"
    audio_filepath: str
    name: str
    text: str


@dataclass(frozen=True)
class _Result:
    """What became of a job."""

    alignment: "Alignment"
    duration: float


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "audio", metavar="AUDIO|MANIFEST", help="a recording, or a manifest with texts"
    )
    parser.add_argument(
        "text", metavar="TEXT", nargs="?", help="file with the recording's text; - for stdin"
    )
    parser.add_argument(
        "--format",
        dest="formats",
        metavar="FORMAT",
        action="append",
        help=f"{', '.join(_FORMATS)}; several with commas or repeated (default: json)",
    )
    parser.add_argument("--output-dir", metavar="DIR", help="write files there; made if need be")
    add_model_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Align."""
    formats = _formats(arguments.formats or ["json"])
    folder = Path(arguments.output_dir) if arguments.output_dir else None
    jobs = _jobs(arguments.audio, arguments.text)
    if folder is None:
        if len(formats) > 1:
            raise ConfigError(f"--format {','.join(formats)}: several formats need --output-dir")
        if arguments.text is None and formats[0] not in ("json", "ctm"):
            raise ConfigError(f"--format {formats[0]} of a manifest needs --output-dir")
    else:
        _prepare_folder(folder, jobs)
    transcriber = load_recognizer(arguments)
    failed = 0
    with ProgressBar(len(jobs), lambda: sum(map(_seconds, jobs))) as bar:
        for job, result in _align_each(transcriber, jobs):
            if isinstance(result, AsrError):
                failed += 1
                bar.write_error(result)
            else:
                bar.advance(result.duration)
                texts = {suffix: _show(suffix, job, result) for suffix in formats}
                _write(job, texts, folder, bar)
            bar.count()
    return AsrError.exit_code if failed else 0


def _formats(values: Sequence[str]) -> list[str]:
    known = {name.lower(): name for name in _FORMATS}
    formats = [name.strip().lower() for value in values for name in value.split(",")]
    unknown = [name for name in formats if name not in known]
    if unknown:
        raise ConfigError(f"--format {unknown[0] or ','}: choose from {', '.join(_FORMATS)}")
    return [known[name] for name in dict.fromkeys(formats)]


def _jobs(audio: str, text: str | None) -> list[_Job]:
    if text is not None:
        if audio == "-" and text == "-":
            raise ConfigError("audio and text cannot both come from standard input")
        name = "stdin" if audio == "-" else Path(audio).stem
        return [_Job(audio, audio, name, _read_text(text))]
    if Path(audio).suffix not in (".jsonl", ".json"):
        raise ConfigError(
            f"{audio}: a recording needs the file with its text behind it; a manifest's name ends "
            "in .jsonl or .json"
        )
    from asr.manifest import read_manifest

    return [
        _Job(utterance, utterance.audio_filepath.as_posix(), utterance.id, utterance.text)
        for utterance in read_manifest(audio)
    ]


def _read_text(path: str) -> str:
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: the text cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8") from None


def _prepare_folder(folder: Path, jobs: Sequence[_Job]) -> None:
    names = [job.name.casefold() for job in jobs]
    if len(set(names)) < len(names):
        twice = next(job.name for n, job in enumerate(jobs) if job.name.casefold() in names[:n])
        raise ConfigError(f"--output-dir: two utterances would be written to {twice}; rename one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output-dir {folder}: {error.strerror}") from None


def _seconds(job: _Job) -> float:
    """Return how much audio a job has; 0 where it cannot be known beforehand."""
    from asr.audio import inspect

    if not isinstance(job.audio, str):
        return job.audio.duration
    try:
        return inspect(job.audio).duration if job.audio != "-" else 0.0
    except AsrError:  # named when its turn comes
        return 0.0


def _align_each(
    transcriber: "Transcriber", jobs: Sequence[_Job]
) -> Iterator[tuple[_Job, _Result | AsrError]]:
    """Align the jobs, each in one thread, as many at once as torch has threads; in order."""
    import torch

    def align_one(job: _Job) -> _Result | AsrError:
        try:
            return _align(transcriber, job)
        except AsrError as error:
            return error

    if len(jobs) == 1:
        yield jobs[0], align_one(jobs[0])
        return
    n_threads = torch.get_num_threads()
    try:
        executor = ThreadPoolExecutor(
            n_threads, "align", initializer=torch.set_num_threads, initargs=(1,)
        )
        with executor:
            yield from zip(jobs, executor.map(align_one, jobs), strict=True)
    finally:
        # The number is each thread's own, but new threads begin with the one set last.
        torch.set_num_threads(n_threads)


def _align(transcriber: "Transcriber", job: _Job) -> _Result:
    import torch

    from asr.decode.align import align, restore_words
    from asr.text import normalize, writes_upper_case

    tokenizer = transcriber.recognizer.tokenizer
    frame_seconds = transcriber.recognizer.frame_seconds
    text = " ".join(job.text.split())
    if writes_upper_case(tokenizer):
        text = normalize(text)
    log_probs = transcriber.log_probs(job.audio)
    duration = _duration(job, len(log_probs) * frame_seconds)
    (alignment,) = align(
        log_probs[None],
        torch.tensor([len(log_probs)]),
        [text],
        tokenizer,
        frame_seconds,
        names=[job.name],
        durations=[duration],
    )
    if tokenizer.marks_words:
        words = restore_words(alignment.words, job.text, normalize)
        alignment = replace(alignment, words=words)
    return _Result(alignment, duration)


def _duration(job: _Job, framed: float) -> float:
    """Return the length of a job's audio in seconds, given that of its frames."""
    from asr.audio import inspect

    if job.audio == "-":
        return framed
    whole = inspect(job.audio_filepath).duration
    if isinstance(job.audio, str):
        return whole
    # A manifest's duration is rounded: a file that is the utterance is read to its end.
    is_file = not job.audio.offset and whole < job.audio.duration + 0.1
    return whole if is_file else job.audio.duration


def _show(suffix: str, job: _Job, result: _Result) -> str:
    from asr.decode.alignment_formats import to_ctm, to_json, to_textgrid
    from asr.formats import to_srt
    from asr.transcribe import Transcript

    alignment = result.alignment
    if suffix == "json":
        return to_json(alignment, job.audio_filepath)
    if suffix == "ctm":
        return to_ctm(alignment, job.name)
    if suffix == "TextGrid":
        return to_textgrid(alignment, result.duration)
    text = " ".join(word.text for word in alignment.words)
    return to_srt(Transcript(text, alignment.words, result.duration))


def _write(job: _Job, texts: dict[str, str], folder: Path | None, bar: ProgressBar) -> None:
    from asr.formats import write_text

    for suffix, text in texts.items():
        if folder is None:
            bar.write(text)
        else:
            write_text(folder / f"{job.name}.{suffix}", text)
