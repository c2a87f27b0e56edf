"""A picture of how a training run went."""

from pathlib import Path
from typing import Any

from asr.errors import CheckpointError, DependencyError
from asr.training_log import read_metrics

__all__ = ["draw_learning_curve"]


def draw_learning_curve(metrics: Path, picture: Path) -> None:
    """Draw training loss, dev loss and dev error rates over epochs.

    Args:
        metrics: the metrics.jsonl of an experiment folder.
        picture: file to write; the suffix decides the format (png, svg, pdf).

    Raises:
        CheckpointError: the file is missing or holds no evaluation yet.
        DependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError(
            "the learning curve needs matplotlib: pip install matplotlib"
        ) from None
    if not metrics.exists():
        raise CheckpointError(f"{metrics}: no such file; it is written by asr train")
    lines = read_metrics(metrics)
    dev = [line for line in lines if line["kind"] == "dev"]
    if not dev:
        raise CheckpointError(f"{metrics}: holds no evaluation yet")
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    losses, rates = figure.subplots(1, 2)
    _plot(losses, [line for line in lines if line["kind"] == "train"], "loss", "train")
    _plot(losses, dev, "dev_loss", "dev")
    _plot(rates, dev, "wer", "WER")
    _plot(rates, dev, "cer", "CER")
    best = min(dev, key=lambda line: line["wer"])
    rates.axhline(best["wer"], color="0.7", linewidth=0.8, zorder=0)
    rates.annotate(f"{best['wer']:.1%}", (best["epoch"], best["wer"]), va="bottom", ha="right")
    losses.set(xlabel="epoch", ylabel="CTC loss per token (nats)", ylim=(0, None))
    rates.set(xlabel="epoch", ylabel="dev error rate", ylim=(0, 1.05))
    for axes in (losses, rates):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=150)


def _plot(axes: Any, lines: list[dict[str, Any]], name: str, label: str) -> None:
    points = [(line["epoch"], line[name]) for line in lines if name in line]
    axes.plot([x for x, _ in points], [y for _, y in points], label=label, linewidth=1.2)
