"""`asr prepare`: manifests from corpora, their check, and tokenizers."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.errors import ConfigError, ManifestError

if TYPE_CHECKING:
    from asr.check import Problem
    from asr.manifest import Utterance
    from asr.prepare import Options
    from asr.text import PhoneTokenizer, Tokenizer

__all__ = ["HELP", "configure", "run"]

HELP = "make a manifest from a corpus, check one, or make a tokenizer"

_EPILOG = """\
A manifest from a LibriSpeech folder, a folder of audio with NAME.txt beside NAME.wav,
a CSV or TSV (Common Voice, LJSpeech, any with a header) or a Kaldi data folder:
  asr prepare LibriSpeech/train-clean-5 --output train.jsonl
What would break or spoil training (exit code 2 when there is any):
  asr prepare --check train.jsonl --model MODEL --output clean.jsonl
A tokenizer from manifests or text files:
  asr prepare --tokenizer bpe --size 300 train.jsonl --output tokenizer
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "sources", metavar="SOURCE", nargs="+", help="corpora; manifests with --check, --tokenizer"
    )
    parser.add_argument(
        "--output", metavar="PATH", help="the manifest to write; with --tokenizer a folder"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="check manifests")
    mode.add_argument(
        "--tokenizer",
        choices=["characters", "bpe", "unigram", "phones"],
        help="make a tokenizer: the characters of the texts, SentencePiece pieces, or phones",
    )
    corpus = parser.add_argument_group("manifest from a corpus")
    corpus.add_argument(
        "--from",
        dest="kind",
        choices=["librispeech", "folder", "table", "kaldi"],
        help="the layout of the corpus (default: found by its files)",
    )
    corpus.add_argument(
        "--text",
        choices=["normalize", "keep"],
        help="write English texts in upper case without punctuation, numbers as words, or keep "
        "them (default: keep for LibriSpeech, else normalize)",
    )
    corpus.add_argument(
        "--skip-bad", action="store_true", help="leave out and name what cannot be used"
    )
    corpus.add_argument(
        "--speaker-from-parent", action="store_true", help="folders are named after speakers"
    )
    corpus.add_argument("--audio-folder", metavar="DIR", help="where a table's audio lies")
    for name in ("audio", "text", "speaker"):
        corpus.add_argument(f"--{name}-column", metavar="NAME", help=f"the table's {name} column")
    check = parser.add_argument_group("check")
    check.add_argument(
        "--model",
        metavar="MODEL",
        help="check against the tokenizer of a model ('default' or a folder), or of another folder",
    )
    check.add_argument(
        "--subsampling",
        metavar="N",
        type=int,
        help="feature frames per output frame, for the check that CTC has enough (default: the "
        "model's, else 4)",
    )
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    pieces = parser.add_argument_group("tokenizer")
    pieces.add_argument("--size", metavar="N", type=int, help="bpe, unigram: number of tokens")
    pieces.add_argument("--lexicon", metavar="FILE", help="phones: CMUdict or Kaldi lexicon.txt")
    pieces.add_argument("--stress", action="store_true", help="phones: keep stress (AH0, AH1)")
    pieces.add_argument(
        "--spell-unknown",
        action="store_true",
        help="phones: pronounce words outside the lexicon as the names of their letters",
    )
    pieces.add_argument(
        "--pronouncer",
        metavar="MODEL",
        help="phones: pronounce them by a network of recipes/g2p, which the tokenizer keeps",
    )
    pieces.add_argument(
        "--word-ends",
        action="store_true",
        help="phones: a token ends each word, so that beam search finds words",
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what the options say."""
    if arguments.check:
        return _check(arguments)
    if not arguments.output:
        raise ConfigError("--output is missing; name the file or folder to write")
    if arguments.tokenizer:
        return _make_tokenizer(arguments)
    return _make_manifest(arguments)


def _make_manifest(arguments: argparse.Namespace) -> int:
    from asr.manifest import write_manifest
    from asr.prepare import Options
    from asr.text import normalize

    output = Path(arguments.output)
    if output.is_dir():
        raise ConfigError(f"--output {output}: is a folder; name the manifest to write")
    utterances: list[Utterance] = []
    for source in map(Path, arguments.sources):
        kind = arguments.kind or _guess_kind(source)
        keep = arguments.text == "keep" or (arguments.text is None and kind == "librispeech")
        with _progress(source.name) as progress:
            options = Options(str if keep else normalize, arguments.skip_bad, progress)
            utterances += _read(source, kind, arguments, options)
    write_manifest(output, utterances)
    print(f"{output}: {_summary(utterances)}")
    empty = sum(not utterance.text for utterance in utterances)
    if empty:
        print(
            f"asr prepare: {empty} texts are empty; `asr prepare --check {output}` names them",
            file=sys.stderr,
        )
    return 0


def _guess_kind(source: Path) -> str:
    if source.suffix in (".json", ".jsonl"):
        raise ManifestError(
            f"{source}: is a manifest already; give a corpus, or --check or --tokenizer"
        )
    if source.is_file():
        return "table"
    if not source.is_dir():
        raise ManifestError(f"{source}: there is no such file or folder")
    if (source / "wav.scp").exists():
        return "kaldi"
    return "librispeech" if next(source.rglob("*.trans.txt"), None) else "folder"


def _read(
    source: Path, kind: str, arguments: argparse.Namespace, options: "Options"
) -> "list[Utterance]":
    from asr.prepare import from_folder, from_kaldi, from_librispeech, from_table

    if kind == "librispeech":
        return from_librispeech(source, options)
    if kind == "kaldi":
        return from_kaldi(source, options)
    if kind == "folder":
        return from_folder(source, options, speaker_from_parent=arguments.speaker_from_parent)
    columns = (arguments.audio_column, arguments.text_column, arguments.speaker_column)
    return from_table(source, options, audio_folder=arguments.audio_folder, columns=columns)


def _summary(utterances: "Sequence[Utterance]") -> str:
    hours = sum(utterance.duration for utterance in utterances) / 3600
    n_speakers = len({u.speaker for u in utterances if u.speaker is not None})
    speakers = f", {n_speakers:,} speakers" if n_speakers else ""
    return f"{len(utterances):,} utterances, {hours:.2f} h{speakers}"


def _check(arguments: argparse.Namespace) -> int:
    from asr.check import check
    from asr.config import Config, load_config
    from asr.manifest import read_manifest
    from asr.text import load_tokenizer

    if arguments.subsampling is not None and arguments.subsampling < 1:
        raise ConfigError(f"--subsampling {arguments.subsampling}: 1 or more is needed")
    if arguments.output and len(arguments.sources) > 1:
        raise ConfigError("--output takes one manifest at a time; check them one by one")
    folder = _tokenizer_folder(arguments.model) if arguments.model else None
    tokenizer = load_tokenizer(folder) if folder else None
    has_config = folder is not None and (folder / "config.toml").exists()
    config = load_config(folder / "config.toml") if folder and has_config else Config()
    reports: list[dict[str, Any]] = []
    for name in arguments.sources:
        utterances = read_manifest(name)
        with _progress(name) as progress:
            problems = check(
                utterances,
                tokenizer=tokenizer,
                subsampling_factor=arguments.subsampling or config.model.subsampling,
                hop_ms=config.features.hop_ms,
                progress=progress,
            )
        reports.append(_report(name, utterances, problems))
        if not arguments.json:
            _print_report(name, utterances, problems, tokenizer)
        if arguments.output:
            _write_clean(Path(arguments.output), name, utterances, problems)
    if arguments.json:
        print(json.dumps(reports, ensure_ascii=False, indent=1))
    return 2 if any(report["problems"] for report in reports) else 0


def _tokenizer_folder(name: str) -> Path:
    """Return the folder whose tokenizer.json is meant: a model's as elsewhere, or any other."""
    folder = Path(name)
    if (folder / "tokenizer.json").exists():
        return folder
    from asr.model_folders import find_model

    return find_model(name)


def _write_clean(
    output: Path, name: str, utterances: "Sequence[Utterance]", problems: "Sequence[Problem]"
) -> None:
    from asr.manifest import write_manifest

    bad = {problem.index for problem in problems}
    kept = [utterance for index, utterance in enumerate(utterances) if index not in bad]
    if not kept:
        raise ManifestError(f"{name}: every utterance has a problem, so nothing is left to write")
    write_manifest(output, kept)
    print(f"{output}: {_summary(kept)} are left", file=sys.stderr)


def _report(
    name: str, utterances: "Sequence[Utterance]", problems: "Sequence[Problem]"
) -> dict[str, Any]:
    return {
        "manifest": name,
        "n_utterances": len(utterances),
        "seconds": round(sum(utterance.duration for utterance in utterances), 3),
        "problems": [
            {
                "utterance": problem.index + 1,
                "id": problem.utterance.id,
                "audio_filepath": str(problem.utterance.audio_filepath),
                "kind": problem.kind,
                "message": problem.message,
            }
            for problem in problems
        ],
    }


def _print_report(
    name: str,
    utterances: "Sequence[Utterance]",
    problems: "Sequence[Problem]",
    tokenizer: "Tokenizer | None",
) -> None:
    for problem in problems:
        utterance = f"utterance {problem.index + 1} ({problem.utterance.id})"
        print(f"{name}: {utterance}: {problem.kind}: {problem.message}")
    n_bad = len({problem.index for problem in problems})
    print(
        f"{name}: {_summary(utterances)}; "
        + (f"{len(problems):,} problems in {n_bad:,} of them" if problems else "no problems")
        + ("" if tokenizer else " (characters and frames not checked: no --model)")
    )


def _make_tokenizer(arguments: argparse.Namespace) -> int:
    from asr.text import CharTokenizer, Tokenizer, train_sentencepiece

    kind = arguments.tokenizer
    texts = [text for source in arguments.sources for text in _texts(Path(source))]
    tokenizer: Tokenizer
    if kind == "characters":
        tokenizer = CharTokenizer(sorted(set().union(*texts)))
    elif kind == "phones":
        tokenizer = _phone_tokenizer(arguments, texts)
    else:
        if not arguments.size:
            raise ConfigError(f"--tokenizer {kind} needs --size N, the number of tokens")
        tokenizer = train_sentencepiece(texts, arguments.size, kind)
    refused = {part: None for text in texts for part in tokenizer.unknown(text)}
    tokenizer.save(arguments.output)
    print(f"{arguments.output}: {kind}, {tokenizer.n_tokens} tokens with the blank")
    if refused:
        shown = ", ".join(list(refused)[:10]) + (", ..." if len(refused) > 10 else "")
        print(
            f"asr prepare: {len(refused)} words of the texts cannot be encoded: {shown}",
            file=sys.stderr,
        )
    return 0


def _phone_tokenizer(arguments: argparse.Namespace, texts: "Sequence[str]") -> "PhoneTokenizer":
    from asr.lexicon import has_stress, read_lexicon
    from asr.pronouncer import Pronouncer
    from asr.text import PhoneTokenizer

    if not arguments.lexicon:
        raise ConfigError("--tokenizer phones needs --lexicon FILE")
    if arguments.pronouncer and arguments.spell_unknown:
        raise ConfigError(
            "--pronouncer and --spell-unknown both say how words outside the lexicon are "
            "pronounced; give one of them"
        )
    lexicon = read_lexicon(
        arguments.lexicon, stress=arguments.stress, spell_unknown=arguments.spell_unknown
    )
    if not arguments.pronouncer:
        return PhoneTokenizer(lexicon, word_ends=arguments.word_ends)
    pronouncer = Pronouncer(arguments.pronouncer)
    if has_stress(pronouncer.phones) != arguments.stress:
        raise ConfigError(
            f"--pronouncer {arguments.pronouncer}: says phones "
            f"{'without' if arguments.stress else 'with'} stress; "
            f"{'leave out' if arguments.stress else 'give'} --stress"
        )
    phones = sorted({*lexicon.phones, *pronouncer.phones})
    # Those of the texts are pronounced now, all at once, and not each time training begins.
    words = dict.fromkeys(word for text in texts for word in text.split())
    unknown = [word for word in words if not lexicon.pronunciations(word)]
    return PhoneTokenizer(
        lexicon.with_words(pronouncer.pronunciations(unknown)),
        word_ends=arguments.word_ends,
        phones=phones,
        pronouncer=pronouncer,
    )


def _texts(source: Path) -> list[str]:
    """The texts of a manifest, or the lines of a text file."""
    from asr.manifest import read_lines, read_manifest

    if source.suffix in (".csv", ".tsv"):
        raise ManifestError(f"{source}: is a table; make a manifest of it first: asr prepare")
    lines = [line for line in read_lines(source) if line.strip()]
    if lines and lines[0].lstrip().startswith("{"):
        return [utterance.text for utterance in read_manifest(source)]
    return lines


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
