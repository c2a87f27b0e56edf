"""ROUGE of summaries, beside the first sentence of each abstract (lead-1).

    python recipes/summarization/score.py EXP model
    python recipes/summarization/score.py --table EXP --readme recipes/summarization/README.md

reads EXP/text/test.json, EXP/decode/NAME.summary and how EXP/NAME was trained; "rouge_l" in
score.json is that of the last NAME.  Needs rouge-score: pip install rouge-score
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.errors import ConfigError, DependencyError
from asr.manifest import read_lines
from asr.recipe_programs import ScoreProgram, machine_facts, run_score, training_facts

__all__ = ["main", "rouge", "summarize", "table"]

MEASURES = ("rouge1", "rouge2", "rougeL")


def rouge(summaries: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the mean F1 of each measure, of words without endings (Porter).

    Where an abstract has several references the one counts that a summary comes closest to, for
    each measure its own, as the authors of SciTLDR do.

    Raises:
        DependencyError: rouge-score is not installed.

    Reference: Lin, "ROUGE: a package for automatic evaluation of summaries", 2004.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise DependencyError("ROUGE needs rouge-score: pip install rouge-score") from None
    scorer = RougeScorer(list(MEASURES), use_stemmer=True)
    sums = dict.fromkeys(MEASURES, 0.0)
    for summary, some in zip(summaries, references, strict=True):
        found = scorer.score_multi(some, summary)
        for measure in MEASURES:
            sums[measure] += found[measure].fmeasure
    return {measure: total / len(summaries) for measure, total in sums.items()}


def summarize(exp: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return what score.json holds.

    Raises:
        ConfigError: no name is given, or a text has another number of lines than the test.
        DependencyError: rouge-score is not installed.
        ManifestError: a text is missing.
    """
    if not names:
        raise ConfigError("no summaries to score: name those in EXP/decode, without .summary")
    test = json.loads((exp / "text" / "test.json").read_text(encoding="utf-8"))
    references = [paper["references"] for paper in test]
    models: dict[str, Any] = {}
    for name in names:
        path = exp / "decode" / f"{name}.summary"
        summaries = read_lines(path)
        if len(summaries) != len(test):
            raise ConfigError(f"{path}: has {len(summaries)} lines, the test has {len(test)}")
        models[name] = _figures(summaries, references) | training_facts(exp / name)
    return {
        "rouge_l": models[names[-1]]["rougeL"],
        "n_papers": len(test),
        "n_references": sum(map(len, references)),
        "lead": _figures([paper["lead"] for paper in test], references),
        "models": models,
        "machine": machine_facts(),
    }


def _figures(summaries: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    n_words = sum(len(summary.split()) for summary in summaries)
    return rouge(summaries, references) | {"words": n_words / len(summaries)}


def table(result: Mapping[str, Any]) -> str:
    """Return the figures as Markdown, in per cent; behind a model what lead-1 has more."""
    machine, lead = result["machine"], result["lead"]
    rows = [
        f"{result['n_papers']:,} papers of the test, {result['n_references']:,} references; F1 in "
        f"per cent, in brackets the distance from lead-1; trained on one CPU core "
        f"({machine['processor']}, torch {machine['torch']}).",
        "",
        "| summary | ROUGE-1 | ROUGE-2 | ROUGE-L | words | dev perplexity | epochs | CPU time |",
        "|---|---|---|---|---|---|---|---|",
        f"| lead-1 | {' | '.join(f'{100 * lead[m]:.1f}' for m in MEASURES)} | {lead['words']:.0f} "
        "| | | |",
    ]
    for name, found in result["models"].items():
        cells = [f"{100 * found[m]:.1f} ({100 * (found[m] - lead[m]):+.1f})" for m in MEASURES]
        rows.append(
            f"| {name} | {' | '.join(cells)} | {found['words']:.0f} | {found['perplexity']:.1f} "
            f"| {found['epochs']:.1f} | {found['training_cpu_seconds'] / 60:.0f} min |"
        )
    return "\n".join(rows)


PROGRAM = ScoreProgram(
    description="ROUGE-1, ROUGE-2 and ROUGE-L.",
    names_help="texts in EXP/decode",
    summarize=summarize,
    table=table,
    headline=lambda result: (
        f"ROUGE-L {result['rouge_l']:.2%}, lead-1 {result['lead']['rougeL']:.2%}"
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_score(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
