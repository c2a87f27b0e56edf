"""Macro-F1 and accuracy of all models, as EXP/score.json, table and pictures of confusion.

    python recipes/sentiment/score.py EXP
    python recipes/sentiment/score.py --table EXP --readme recipes/sentiment/README.md

reads EXP/data and what train.py predicted.  EXP/confusion.png has a matrix for each set, of the
model with the best macro-F1 on dev; "macro_f1" in score.json is the mean over the sets of these
models on test.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from sentiment_config import Model
from sentiment_data import read_part
from text_training import confusion, figures

from asr.errors import ConfigError, DependencyError
from asr.manifest import read_lines
from asr.recipe_programs import ScoreProgram, describe_machine, run_score

__all__ = ["draw", "main", "summarize", "table"]

_NAMES: dict[Model, str] = {
    "tfidf": "TF-IDF, logistic regression",
    "lstm": "LSTM from scratch",
    "bilstm": "bidirectional LSTM from scratch",
    "ulmfit": "the LSTM, from our language model",
    "frozen": "transformer, frozen",
    "finetuned": "transformer, fine-tuned",
}


def summarize(exp: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return what score.json holds, and draw EXP/confusion.png.

    Args:
        exp: experiment folder.
        names: of sets; none for all.

    Raises:
        ConfigError: nothing was trained, or a prediction does not fit the data.
    """
    folder = exp / "models"
    names = names or sorted(path.name for path in folder.glob("*") if path.is_dir())
    sets = {name: _summarize_set(exp, name) for name in names}
    if not sets:
        raise ConfigError(f"{folder}: no model there; train one first")
    best = {name: max(each["models"].values(), key=_on_dev) for name, each in sets.items()}
    draw(
        {name: (each["labels"], np.array(best[name]["confusion"])) for name, each in sets.items()},
        exp / "confusion.png",
    )
    return {
        "macro_f1": mean(mean(each["test_macro_f1"]) for each in best.values()),
        "sets": sets,
        "machine": describe_machine(),
    }


def _on_dev(found: dict[str, Any]) -> float:
    return mean(found["dev_macro_f1"])


def _summarize_set(exp: Path, name: str) -> dict[str, Any]:
    train, dev, test = (
        read_part(exp / "data" / name / f"{part}.csv") for part in ("train", "dev", "test")
    )
    labels = sorted({example.label for example in train})
    models: dict[str, Any] = {}
    for kind, title in _NAMES.items():
        runs = sorted((exp / "models" / name).glob(f"{kind}-*/test.txt"))
        if not runs:
            continue
        found: dict[str, Any] = {"title": title, "n_seeds": len(runs)}
        for part, examples in (("dev", dev), ("test", test)):
            reference = [labels.index(example.label) for example in examples]
            counts = [_counts(run.with_name(f"{part}.txt"), reference, labels) for run in runs]
            measured = [figures(each) for each in counts]
            for figure in ("macro_f1", "accuracy"):
                found[f"{part}_{figure}"] = [each[figure] for each in measured]
            found["confusion"] = np.sum(counts, axis=0).tolist()
        seconds = [(run.parent / "seconds").read_text(encoding="utf-8").split()[1] for run in runs]
        models[kind] = {**found, "cpu_seconds": mean(map(int, seconds))}
    return {"labels": labels, "n_train": len(train), "n_test": len(test), "models": models}


def _counts(path: Path, reference: Sequence[int], labels: Sequence[str]) -> np.ndarray:
    try:
        predicted = [labels.index(label) for label in read_lines(path)]
        return confusion(reference, predicted, len(labels))
    except ValueError:
        raise ConfigError(
            f"{path}: does not fit the {len(reference)} texts of the set; train anew"
        ) from None


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    rows = [
        f"On test, mean ± standard deviation over the seeds; {result['machine']}, CPU time of a "
        "training on one core.",
        "",
        "| set | train, test | model | seeds | macro-F1 | accuracy | CPU time |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in result["sets"].items():
        rows += [
            f"| {name} | {each['n_train']:,}, {each['n_test']:,} | {found['title']} "
            f"| {found['n_seeds']} "
            f"| {_spread(found['test_macro_f1'])} | {_spread(found['test_accuracy'])} "
            f"| {found['cpu_seconds']:.0f} s |"
            for found in each["models"].values()
        ]
    return "\n".join(rows)


def _spread(values: Sequence[float]) -> str:
    shown = f"{100 * mean(values):.1f}"
    return f"{shown} ± {100 * stdev(values):.1f}" if len(values) > 1 else shown


def draw(matrices: dict[str, tuple[Sequence[str], np.ndarray]], path: Path) -> None:
    """Write a picture of confusion matrices, each row as parts of the texts with its label.

    Args:
        matrices: labels and counts (C, C) of each set.
        path: PNG file.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("the picture needs matplotlib: pip install matplotlib") from None
    figure = Figure(figsize=(3.4 * len(matrices), 3.4), layout="constrained")
    for axes, (name, (labels, counts)) in zip(
        figure.subplots(1, len(matrices), squeeze=False)[0], matrices.items(), strict=True
    ):
        parts = counts / np.maximum(1, counts.sum(1, keepdims=True))
        axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
        for (row, column), part in np.ndenumerate(parts):
            color = "white" if part > 0.6 else "black"
            axes.text(column, row, f"{part:.0%}", ha="center", va="center", color=color)
        axes.set_xticks(range(len(labels)), labels=labels)
        axes.set_yticks(range(len(labels)), labels=labels, rotation=90, va="center")
        axes.set(title=name, xlabel="predicted", ylabel="labelled")
    figure.savefig(path, dpi=80)


PROGRAM = ScoreProgram(
    description="Figures of all models.",
    names_help="sets (default: all)",
    summarize=summarize,
    table=table,
    headline=lambda result: f"macro-F1 {result['macro_f1']:.1%}",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_score(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
