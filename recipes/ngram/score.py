"""All figures as EXP/score.json, as tables of the README and as a picture.

    python recipes/ngram/score.py EXP
    python recipes/ngram/score.py --table EXP --readme recipes/ngram/README.md

reads EXP/estimates.json, and EXP/lmplz.json where it is there, and draws EXP/perplexity.png.
"perplexity" in score.json is that of the highest order and the most text.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.checkpoint import read_json
from asr.errors import ConfigError, DependencyError
from asr.recipe_programs import ScoreProgram, machine_facts, run_score
from lm.corpus import read_words

__all__ = ["main", "summarize", "table"]


def summarize(exp: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return what score.json holds.

    Raises:
        ConfigError: nothing is estimated yet.
    """
    if not (exp / "estimates.json").exists():
        raise ConfigError(f"{exp}: has no estimates.json; run the stage estimate first")
    models = read_json(exp / "estimates.json")["models"]
    models.sort(key=lambda model: (model["words"], model["order"]))
    result = {
        "perplexity": models[-1]["perplexity"],
        "n_known_words": len(read_words(exp / "text" / "words.txt")),
        "models": models,
        "lmplz": [],
        "machine": machine_facts(),
    }
    if (exp / "lmplz.json").exists():
        compared = read_json(exp / "lmplz.json")
        ours = {m["order"]: m for m in models if m["size"] == compared["size"]}
        result["lmplz"] = [
            {
                "order": theirs["order"],
                "words": ours[theirs["order"]]["words"],
                "ours": ours[theirs["order"]]["perplexity"],
                "lmplz": theirs["perplexity"],
                "difference": ours[theirs["order"]]["perplexity"] / theirs["perplexity"] - 1,
            }
            for theirs in compared["models"]
            if theirs["order"] in ours
        ]
    _draw(models, exp / "perplexity.png")
    return result


def _by_words(models: Sequence[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """The models of each amount of text, by order."""
    amounts = sorted({model["words"] for model in models})
    return {words: [model for model in models if model["words"] == words] for words in amounts}


def _draw(models: Sequence[dict[str, Any]], path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("the score draws a picture: pip install matplotlib") from None
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for words, group in _by_words(models).items():
        orders = [model["order"] for model in group]
        label = f"{words / 1e6:.3g} million words"
        left.plot(orders, [model["perplexity"] for model in group], "o-", label=label)
        seen = [100 * model["relative_frequencies"]["seen"] for model in group]
        right.plot(orders, seen, "o-", label=label)
    left.set(xlabel="order", ylabel="perplexity, Kneser-Ney", yscale="log")
    right.set(xlabel="order", ylabel="% of the test's n-grams seen", ylim=(0, 100))
    for axis in (left, right):
        axis.set_xticks(sorted({model["order"] for model in models}))
    right.legend()
    figure.savefig(path, dpi=80)


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    groups = _by_words(result["models"])
    orders = sorted({model["order"] for model in result["models"]})
    machine = result["machine"]
    rows = [
        f"Kneser-Ney, perplexity on the test; {result['n_known_words']:,} words known "
        f"({machine['processor']}):",
        "",
        f"| words to train on | {' | '.join(f'order {order}' for order in orders)} |",
        "|---" * (len(orders) + 1) + "|",
    ]
    for words, group in groups.items():
        found = {model["order"]: f"{model['perplexity']:.1f}" for model in group}
        rows.append(f"| {words:,} | {' | '.join(found.get(o, '') for o in orders)} |")
    words, group = list(groups.items())[-1]
    rows += ["", *_unsmoothed(words, group)]
    if result["lmplz"]:
        rows += ["", *_compared(result["lmplz"])]
    for group in groups.values():
        if any("samples" in model for model in group):
            rows += ["", *_samples(group)]
    return "\n".join(rows)


def _unsmoothed(words: int, group: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        f"Maximum likelihood, {words:,} words to train on:",
        "",
        "| order | n-grams | P = c(hw) / c(h) > 0 | P = 0 | 0 / 0 | perplexity of the first part "
        "| Kneser-Ney, of all |",
        "|---" * 7 + "|",
    ]
    for model in group:
        found = model["relative_frequencies"]
        zero = 1 - found["seen"] - found["undefined"]
        rows.append(
            f"| {model['order']} | {model['n_ngrams']:,} | {found['seen']:.1%} | {zero:.1%} "
            f"| {found['undefined']:.1%} | {found['perplexity_of_seen']:.1f} "
            f"| {model['perplexity']:.1f} |"
        )
    return rows


def _compared(models: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        f"KenLM's `lmplz` on the same {models[0]['words']:,} words, its models measured by the "
        "package kenlm:",
        "",
        "| order | ours | lmplz | difference |",
        "|---|---|---|---|",
    ]
    rows += [
        f"| {model['order']} | {model['ours']:.3f} | {model['lmplz']:.3f} "
        f"| {model['difference']:+.4%} |"
        for model in models
    ]
    return rows


def _samples(group: Sequence[dict[str, Any]]) -> list[str]:
    rows = [f"Drawn from the models of {group[0]['words']:,} words:", "", "```"]
    for model in group:
        rows += [f"{model['order']}: {sentence}" for sentence in model.get("samples", [])]
    return [*rows, "```"]


PROGRAM = ScoreProgram(
    description="Perplexities by order and amount of text.",
    names_help="not needed",
    summarize=summarize,
    table=table,
    headline=lambda result: f"perplexity {result['perplexity']:.2f}",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_score(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
