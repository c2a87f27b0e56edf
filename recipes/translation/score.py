"""BLEU of all models by sacrebleu, as EXP/score.json and as the table of the README.

    python recipes/translation/score.py EXP plain attention
    python recipes/translation/score.py --table EXP --readme recipes/translation/README.md

reads EXP/text/test.de, EXP/decode/NAME.de and how EXP/NAME was trained; "bleu" in score.json is
that of the last NAME.  Needs sacrebleu: pip install sacrebleu
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.errors import ConfigError, DependencyError
from asr.manifest import read_lines
from asr.recipe_programs import ScoreProgram, machine_facts, run_score, training_facts

__all__ = ["main", "summarize", "table"]


def summarize(exp: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return what score.json holds.

    Raises:
        ConfigError: no name is given, or a translation has another number of lines.
        DependencyError: sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        raise DependencyError("the score needs sacrebleu: pip install sacrebleu") from None
    if not names:
        raise ConfigError("no translation to score: name those in EXP/decode, without .de")
    references = read_lines(exp / "text" / "test.de")
    models: dict[str, Any] = {}
    signature = ""
    for name in names:
        path = exp / "decode" / f"{name}.de"
        lines = read_lines(path)
        if len(lines) != len(references):
            raise ConfigError(
                f"{path}: has {len(lines)} lines, the test has {len(references)}; translate anew"
            )
        bleu = BLEU()
        result = bleu.corpus_score(lines, [references])
        signature = str(bleu.get_signature())
        models[name] = {
            "bleu": result.score,
            "length_ratio": result.ratio,
            **training_facts(exp / name),
        }
    return {
        "bleu": models[names[-1]]["bleu"],
        "n_sentences": len(references),
        "signature": signature,
        "models": models,
        "machine": machine_facts(),
    }


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    machine = result["machine"]
    rows = [
        f"{result['n_sentences']:,} sentences of the 2016 test; sacrebleu `{result['signature']}`; "
        f"trained on one CPU core ({machine['processor']}, torch {machine['torch']}).",
        "",
        "| model | BLEU | length ratio | dev perplexity per piece | epochs | CPU time |",
        "|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {name} | {found['bleu']:.1f} | {found['length_ratio']:.2f} "
        f"| {found['perplexity']:.2f} | {found['epochs']:.1f} "
        f"| {found['training_cpu_seconds'] / 60:.0f} min |"
        for name, found in result["models"].items()
    ]
    return "\n".join(rows)


PROGRAM = ScoreProgram(
    description="BLEU of all models.",
    names_help="translations in EXP/decode",
    summarize=summarize,
    table=table,
    headline=lambda result: f"BLEU {result['bleu']:.1f}",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_score(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
