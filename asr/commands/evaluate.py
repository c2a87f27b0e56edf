"""`asr evaluate`: error rates and speed of a model on manifests."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.commands.model_options import add_decoding_options, add_model_options, load_transcriber
from asr.commands.progress_bar import ProgressBar
from asr.errors import AsrError, ConfigError

if TYPE_CHECKING:
    from asr.evaluate import Evaluation

__all__ = ["HELP", "configure", "run"]

HELP = "error rates and speed of a model on manifests"

_EPILOG = """\
Where the model writes upper case only, references are brought to upper case without
punctuation, numbers as words (English), before they are compared; --no-normalize leaves them as
they are.  --normalize does so on both sides, for models that write punctuation.
Utterances that cannot be read are named on standard error and left out, and the exit code is 2.

  asr evaluate test.jsonl --model exp/best --output a.jsonl
  asr score test.jsonl a.jsonl b.jsonl
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "manifests",
        metavar="MANIFEST",
        nargs="+",
        help="JSON lines, as `asr prepare` makes them; of several, each and all are scored",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write references and hypotheses there, as JSON lines; a folder that is there gets a "
        "file for each manifest, named alike, and with --json its figures beside it",
    )
    parser.add_argument(
        "--worst", metavar="N", type=int, default=5, help="show the N worst utterances (default 5)"
    )
    parser.add_argument(
        "--normalize",
        action=argparse.BooleanOptionalAction,
        help="normalise both sides, or neither (default: references, where the model writes "
        "upper case)",
    )
    parser.add_argument(
        "--bootstrap", metavar="N", type=int, default=1000, help="resamples (default 1000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default 0)")
    add_model_options(parser)
    add_decoding_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate."""
    if arguments.worst < 0:
        raise ConfigError(f"--worst {arguments.worst}: 0 or more is needed")
    if arguments.bootstrap < 1:
        raise ConfigError(f"--bootstrap {arguments.bootstrap}: 1 or more is needed")
    from asr.checkpoint import write_json
    from asr.evaluate import evaluate, join, write_hypotheses
    from asr.manifest import read_manifest

    output = Path(arguments.output) if arguments.output else None
    files = _files_in(output, arguments.manifests) if output and output.is_dir() else []
    manifests = [read_manifest(path) for path in arguments.manifests]
    transcriber = load_transcriber(arguments)
    n_utterances = sum(map(len, manifests))
    seconds = sum(utterance.duration for each in manifests for utterance in each)
    with ProgressBar(n_utterances, lambda: seconds) as bar:
        parts = [
            evaluate(transcriber, each, normalized=arguments.normalize, on_progress=bar.advance)
            for each in manifests
        ]
    whole = join(parts)
    for error in whole.errors:
        bar.write_error(error)
    if not whole.utterances:
        return AsrError.exit_code
    results = [_results(part, arguments) for part in parts] if arguments.json else []
    if files:
        for file, part in zip(files, parts, strict=True):
            write_hypotheses(file, part)
        for file, figures in zip(files, results, strict=False):
            write_json(file.with_suffix(".json"), figures)
    elif output:
        write_hypotheses(output, whole)
    if arguments.json:
        result = _results(whole, arguments)
        result["manifests"] = dict(zip(arguments.manifests, results, strict=True))
        json.dump(result, sys.stdout, ensure_ascii=False, indent=1)
        print()
    else:
        named = dict(zip(arguments.manifests, parts, strict=True))
        if len(named) > 1:
            named["all"] = whole
        print("\n\n".join(_report(name, part, arguments) for name, part in named.items()))
    return AsrError.exit_code if whole.errors else 0


def _files_in(folder: Path, manifests: Sequence[str]) -> list[Path]:
    """Return a file of the folder for each manifest, named alike."""
    files = [folder / Path(name).name for name in manifests]
    for file, manifest in zip(files, manifests, strict=True):
        if manifests[files.index(file)] != manifest:
            raise ConfigError(f"--output {folder}: {file.name} is the name of two manifests")
        if file.exists() and file.samefile(manifest):
            raise ConfigError(f"--output {folder}: {manifest} lies there; name another folder")
    return files


def _results(evaluation: "Evaluation", arguments: argparse.Namespace) -> dict[str, Any]:
    facts: dict[str, float | None] = {
        "n_failed": len(evaluation.errors),
        "audio_seconds": round(evaluation.audio_seconds, 3),
        "seconds": round(evaluation.seconds, 3),
        "rtf": evaluation.rtf,
    }
    if not evaluation.utterances:
        return facts
    score = evaluation.score(n_bootstrap=arguments.bootstrap, seed=arguments.seed)
    nce = evaluation.confidence_nce
    facts["confidence_nce"] = nce if math.isfinite(nce) else None
    return {**score.to_dict(arguments.worst), **facts}


def _report(name: str, evaluation: "Evaluation", arguments: argparse.Namespace) -> str:
    from asr.metrics import describe

    if not evaluation.utterances:
        return f"{name}: no utterance can be read"
    score = evaluation.score(n_bootstrap=arguments.bootstrap, seed=arguments.seed)
    left_out = f", {len(evaluation.errors)} utterances left out" if evaluation.errors else ""
    # Aligned errors of several manifests would hide the figures.
    n_worst = arguments.worst if len(arguments.manifests) == 1 or name == "all" else 0
    return (
        f"{name}: {evaluation.audio_seconds / 60:.1f} min of audio in {evaluation.seconds:.1f} s, "
        f"{1 / max(evaluation.rtf, 1e-9):.0f} x real time (RTF {evaluation.rtf:.4f}){left_out}\n"
        + _confidences(evaluation)
        + describe(score, n_worst)
    )


def _confidences(evaluation: "Evaluation") -> str:
    nce = evaluation.confidence_nce
    if not math.isfinite(nce):
        return ""
    return f"word confidences: normalised cross entropy {nce:.3f}\n"
