"""`asr score`: error rates of transcripts, without a model."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr.metrics import Comparison, Score

__all__ = ["HELP", "configure", "run"]

HELP = "word and character error rates of hypotheses against references"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = (
        "Files are plain text (an utterance a line, in the same order), trn of sclite\n"
        "(text (id)), or JSON lines with audio_filepath or id and text (hypotheses also\n"
        "pred_text or hypothesis).  Where both sides have ids, they are matched by them."
    )
    parser.add_argument("reference", metavar="REF", help="what was said")
    parser.add_argument("hypothesis", metavar="HYP", help="what was recognised")
    parser.add_argument(
        "other", metavar="HYP_B", nargs="?", help="a second system, to compare with the first"
    )
    parser.add_argument(
        "--normalize",
        action="store_true",
        help="bring both sides to upper case without punctuation, numbers as words (English)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--worst", metavar="N", type=int, default=5, help="show the N worst utterances (default 5)"
    )
    parser.add_argument(
        "--bootstrap", metavar="N", type=int, default=1000, help="resamples (default 1000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default 0)")


def run(arguments: argparse.Namespace) -> int:
    """Score one system, or two and their difference."""
    import json
    from pathlib import Path

    from asr.metrics import compare, score
    from asr.transcripts import match, read_transcripts

    _check_options(arguments)
    paths = [Path(arguments.reference), Path(arguments.hypothesis)]
    paths += [Path(arguments.other)] if arguments.other else []
    matched = match([read_transcripts(path, is_reference=path is paths[0]) for path in paths])
    texts: list[list[str]] = [[line.text for line in lines] for lines in matched]
    if arguments.normalize:
        from asr.text import normalize

        texts = [[normalize(text) for text in side] for side in texts]
    references, *systems = texts
    ids = [line.id or str(number) for number, line in enumerate(matched[0], start=1)]
    speakers = [line.speaker for line in matched[0]]
    options = {"n_bootstrap": arguments.bootstrap, "seed": arguments.seed}
    scores = [
        score(references, system, ids=ids, speakers=speakers, **options) for system in systems
    ]
    comparison = (
        compare(references, systems[0], systems[1], speakers=speakers, **options)
        if arguments.other
        else None
    )
    if arguments.json:
        results = [result.to_dict(arguments.worst) for result in scores]
        if comparison:
            output = {"a": results[0], "b": results[1], "comparison": comparison.to_dict()}
        else:
            output = results[0]
        json.dump(output, sys.stdout, ensure_ascii=False, indent=1)
        print()
    else:
        print(_report(scores, [str(path) for path in paths[1:]], comparison, arguments.worst))
    return 0


def _report(
    scores: Sequence["Score"], names: list[str], comparison: "Comparison | None", n_worst: int
) -> str:
    from asr.metrics import describe

    if comparison is None:
        return describe(scores[0], n_worst)
    parts = [
        f"{letter}: {name}\n{describe(score)}"
        for letter, name, score in zip("AB", names, scores, strict=True)
    ]
    interval = (
        f"  (95 % interval {comparison.interval[0]:+.2%} to {comparison.interval[1]:+.2%}, "
        f"paired bootstrap over {comparison.interval_over})"
        if comparison.interval
        else ""
    )
    parts.append(
        f"B - A: WER {comparison.difference:+.2%}{interval}\n"
        f"B has fewer errors in {comparison.probability_of_improvement:.1%} of the resamples"
    )
    return "\n\n".join(parts)


def _check_options(arguments: argparse.Namespace) -> None:
    from asr.errors import ConfigError

    if arguments.worst < 0:
        raise ConfigError(f"--worst {arguments.worst}: 0 or more is needed")
    if arguments.bootstrap < 1:
        raise ConfigError(f"--bootstrap {arguments.bootstrap}: 1 or more is needed")
