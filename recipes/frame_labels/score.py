"""Frame accuracies, as EXP/score.json and as a table, and a picture of one utterance.

    python recipes/frame_labels/score.py EXP mlp bilstm [--draw PNG]
    python recipes/frame_labels/score.py --table EXP --readme recipes/frame_labels/README.md

"frame_accuracy" in score.json is that of the last model on all frames of the test.  Beside the
models stands what one reaches who always says the commonest phone of the training frames.  The
second form prints the table of an earlier score.json and writes it to where the README has the
last one.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frames import SILENCE, LabelledUtterance, phone_names, read_labels, read_segments
from labeller import FrameLabeller, load_labeller
from torch import Tensor
from train import read_part

from asr.checkpoint import read_json, write_json
from asr.cli import run_program
from asr.errors import ConfigError, DependencyError
from asr.readme_table import write_table
from asr.recipe_programs import describe_machine

__all__ = ["accuracies", "draw", "main", "runs", "table"]

SECONDS_DRAWN = 4.0


def accuracies(references: Tensor, found: Tensor) -> dict[str, float]:
    """Return which part of frames is right: of all, and of those but silence (0).

    Args:
        references: phones, (N,).
        found: phones, (N,).
    """
    right = (references == found).double()
    return {"all": float(right.mean()), "speech": float(right[references > 0].mean())}


@torch.inference_mode()
def _label(network: FrameLabeller, utterance: LabelledUtterance) -> Tensor:
    log_probs = network(utterance.features[None], torch.tensor([len(utterance.features)]))
    found: Tensor = log_probs[0].argmax(-1)
    return found


def summarize(
    exp: Path,
    phones: Sequence[str],
    training: Tensor,
    test: Sequence[LabelledUtterance],
    found: Mapping[str, Sequence[Tensor]],
) -> dict[str, Any]:
    """Return what score.json holds.

    Args:
        exp: experiment folder.
        phones: with the silence.
        training: labels of the frames that the networks were trained on, (N,).
        test: what they were asked.
        found: by model, what it said of each utterance of the test.
    """
    counts = training.bincount(minlength=len(phones))
    references = torch.cat([u.labels for u in test])
    results = []
    for name, order in (("always", counts), ("always, of speech", counts[1:])):
        commonest = int(order.argmax()) + len(counts) - len(order)
        always = torch.full_like(references, commonest)
        results.append({"name": f"{name}: {phones[commonest]}", **accuracies(references, always)})
    for name, answers in found.items():
        seconds = (exp / name / "seconds").read_text(encoding="utf-8").split()[1]
        metrics = read_json(exp / name / "best" / "metrics.json")
        more = {"training_cpu_seconds": int(seconds), "epoch": metrics["epoch"]}
        results.append({"name": name, **accuracies(references, torch.cat([*answers])), **more})
    return {
        "frame_accuracy": results[-1]["all"],
        "results": results,
        "n_training_frames": len(training),
        "n_utterances": len(test),
        "n_speakers": len({u.utterance.speaker for u in test}),
        "n_frames": len(references),
        "machine": describe_machine(),
    }


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    rows = [
        f"Trained on {result['n_training_frames']:,} frames; tested on {result['n_frames']:,} "
        f"frames of {result['n_utterances']} utterances by {result['n_speakers']} other speakers.  "
        f"On {result['machine']}.",
        "",
        "| | right of all frames | right of those with speech | training (CPU time) |",
        "|---|---|---|---|",
    ]
    for one in result["results"]:
        time = f"{one['training_cpu_seconds']:,} s" if "training_cpu_seconds" in one else ""
        rows.append(f"| {one['name']} | {one['all']:.2%} | {one['speech']:.2%} | {time} |")
    return "\n".join(rows)


def runs(labels: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return what is the same in frame after frame: label, first frame, frame behind the last."""
    found, first = [], 0
    for label, frames in groupby(labels):
        last = first + len(list(frames))
        found.append((label, first, last))
        first = last
    return found


def draw(
    utterance: LabelledUtterance,
    rows: Mapping[str, Tensor],
    phones: Sequence[str],
    seconds_per_frame: float,
    path: Path,
) -> None:
    """Draw the beginning of an utterance: its features, and a row for each way to label it.

    Args:
        utterance: which.
        rows: labels of its frames by name.
        phones: with the silence.
        seconds_per_frame: from one frame to the next.
        path: receives the picture.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("--draw needs matplotlib: pip install matplotlib") from None
    n_frames = min(len(utterance.labels), round(SECONDS_DRAWN / seconds_per_frame))
    duration = n_frames * seconds_per_frame
    figure = Figure(figsize=(12, 2 + 0.6 * len(rows)), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, len(rows)])
    above.imshow(
        utterance.features[:n_frames].T, origin="lower", aspect="auto", cmap="magma",
        extent=(0, duration, 0, utterance.features.shape[1]),
    )  # fmt: skip
    above.set(ylabel="mel band", title=utterance.utterance.text[:90])
    colours = colormaps["hsv"]
    for y, labels in enumerate(rows.values()):
        for label, first, last in runs(labels[:n_frames].tolist()):
            if phones[label] == SILENCE:
                continue
            start, width = first * seconds_per_frame, (last - first) * seconds_per_frame
            colour = colours(label / len(phones))
            below.barh(y, width, left=start, height=0.9, color=colour, alpha=0.5)
            if last - first > 1:
                below.text(start + width / 2, y, phones[label], ha="center", va="center", size=6)
    below.set_yticks(range(len(rows)), labels=list(rows))
    below.invert_yaxis()
    below.set(xlabel="seconds", xlim=(0, duration))
    figure.savefig(path, dpi=64)


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    if not arguments.models:
        raise ConfigError("the models to score are needed: mlp, bilstm")
    exp: Path = arguments.exp
    segments = read_segments(exp / "alignments.jsonl")
    phones = phone_names(segments)
    networks = {name: load_labeller(exp, name, len(phones)) for name in arguments.models}
    config = next(iter(networks.values()))[0]
    labels = read_labels(exp / "manifests" / "train.jsonl", segments, config.input.stride)
    training = torch.from_numpy(np.concatenate(labels))
    test = read_part(exp, "test", segments, config)
    found = {name: [_label(net, u) for u in test] for name, (_, net) in networks.items()}
    if arguments.draw:
        rows = {"reference": test[0].labels, **{name: each[0] for name, each in found.items()}}
        draw(test[0], rows, phones, config.input.stride * 0.01, arguments.draw)
    return summarize(exp, phones, training, test, found)


def _run(arguments: argparse.Namespace) -> int:
    path = arguments.exp / "score.json"
    result = read_json(path) if arguments.table else _measure(arguments)
    if not arguments.table:
        write_json(path, result)
    print(table(result))
    if arguments.readme:
        write_table(arguments.readme, table(result))
    print(f"{path}: frame accuracy {result['frame_accuracy']:.2%}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Frame accuracies of all models.")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="what was trained")
    parser.add_argument("--draw", type=Path, metavar="PNG", help="picture of the first utterance")
    parser.add_argument("--table", action="store_true", help="print the table of score.json again")
    parser.add_argument("--readme", type=Path, help="also write the table there")
    arguments = parser.parse_args(argv)
    return run_program("score", lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
