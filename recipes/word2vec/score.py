"""All figures as EXP/score.json and as tables of the README.

    python recipes/word2vec/score.py EXP skipgram cbow small-skipgram ...
    python recipes/word2vec/score.py --table EXP --readme recipes/word2vec/README.md

reads metrics.json and tests.json of each EXP/NAME, and adds what tools/bench_word2vec.py left of
gensim's models there.  "analogies" in score.json is the share that the first model answers right.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from word_tests import PAIR_SETS

from asr.checkpoint import read_json
from asr.errors import ConfigError
from asr.recipe_programs import ScoreProgram, machine_facts, run_score

__all__ = ["main", "summarize", "table"]

_PEER = "gensim-"


def summarize(exp: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return what score.json holds.

    Raises:
        ConfigError: no name is given, or a model is not there
    """
    if not names:
        raise ConfigError("no model to score: name those in EXP")
    peers = [f"{_PEER}{name}" for name in names if (exp / f"{_PEER}{name}").exists()]
    models = {
        name: {**read_json(exp / name / "metrics.json"), "tests": _tests(exp / name)}
        for name in [*names, *peers]
    }
    first = models[names[0]]["tests"]
    return {
        "analogies": _share(first["analogies"]["all"]) if first else None,
        "models": models,
        "machine": machine_facts(),
    }


def _tests(folder: Path) -> Any:
    path = folder / "tests.json"
    return read_json(path) if path.exists() else None


def _share(score: dict[str, int]) -> float:
    return score["right"] / max(score["covered"], 1)


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    small, large = _split(result["models"])
    rows: list[str] = []
    if large:
        rows += _large(large)
    if small:
        rows += ["", *_small(small)]
    machine = result["machine"]
    rows += ["", f"{machine['cores']} {machine['processor']} cores."]
    return "\n".join(rows)


def _split(models: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The models of the small vocabulary, and the others."""
    small = {name: found for name, found in models.items() if name.startswith("small")}
    return small, {name: found for name, found in models.items() if name not in small}


def _large(models: dict[str, Any]) -> list[str]:
    found = next(iter(models.values()))
    rows = [
        f"{found['words']:,} words to learn from, {found['vocabulary']:,} different ones, read "
        f"{found['epochs']} times:",
        "",
        "| vectors | words/s | words/CPU s | analogies | semantic | syntactic | "
        f"{' | '.join(PAIR_SETS)} |",
        "|---" * (6 + len(PAIR_SETS)) + "|",
    ]
    for name, figures in models.items():
        n_words = figures["words"] * figures["epochs"]
        cells = [_label(name), f"{n_words / figures['seconds']:,.0f}"]
        cells += [f"{n_words / figures['cpu_seconds']:,.0f}", *_test_cells(figures["tests"])]
        rows.append(f"| {' | '.join(cells)} |")
    covered = [figures["tests"] for figures in models.values() if figures["tests"]]
    if covered:
        analogies = covered[0]["analogies"]["all"]
        pairs = ", ".join(
            f"{score['covered']:,} of {score['total']:,} in {name}"
            for name, score in covered[0]["similarity"].items()
        )
        rows += [
            "",
            f"Analogies: {analogies['covered']:,} of {analogies['total']:,} questions have all "
            f"their words among the 30,000 most frequent. Spearman's correlation with people's "
            f"judgement of pairs: {pairs}.",
        ]
    return rows


def _test_cells(tests: Any) -> list[str]:
    if not tests:
        return [""] * (3 + len(PAIR_SETS))
    shares = [
        f"{_share(tests['analogies'][kind]):.1%}" for kind in ("all", "semantic", "syntactic")
    ]
    correlations = [
        f"{tests['similarity'][name]['spearman']:.3f}" if name in tests["similarity"] else ""
        for name in PAIR_SETS
    ]
    return shares + correlations


def _small(models: dict[str, Any]) -> list[str]:
    found = next(iter(models.values()))
    rows = [
        f"The {found['vocabulary']:,} most frequent words alone, {found['words']:,} words to learn "
        f"from, read {found['epochs']} times; perplexity of held-out words' company, "
        f"{found['vocabulary']:,} for a blind guess:",
        "",
        "| vectors | CPU seconds | words/CPU s | perplexity |",
        "|---|---|---|---|",
    ]
    for name, figures in models.items():
        speed = figures["words"] * figures["epochs"] / figures["cpu_seconds"]
        rows.append(
            f"| {_label(name)} | {figures['cpu_seconds']:.0f} | {speed:,.0f} "
            f"| {figures['held_out']['perplexity']:.1f} |"
        )
    return rows


def _label(name: str) -> str:
    if name.startswith(_PEER):
        return f"gensim: {_label(name.removeprefix(_PEER))}"
    method = "softmax" if name.endswith("softmax") else "negative sampling"
    return f"{'CBOW' if 'cbow' in name else 'skip-gram'}, {method}"


def _headline(result: dict[str, Any]) -> str:
    share = result["analogies"]
    return "no analogies asked" if share is None else f"analogies {share:.1%}"


PROGRAM = ScoreProgram(
    description="Speed, analogies, similarities and held-out perplexity of word vectors.",
    names_help="models in EXP",
    summarize=summarize,
    table=table,
    headline=_headline,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_score(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
