"""Make a neural language model fit to be shipped: rounded weights, no paths, nothing to resume.

    python tools/ship_lm.py exp/lstm_lm lstm_lm [--precision int8]

reads the best model of an experiment of `python -m lm train`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from asr.checkpoint import Precision, atomic_folder, read_json
from asr.cli import run_program
from lm.neural_model import NeuralLanguageModel

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("experiment", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--precision", choices=("half", "int8"), default="half")
    arguments = parser.parse_args(argv)
    return run_program(
        "ship_lm", lambda: _ship(arguments.experiment, arguments.output, arguments.precision)
    )


def _ship(experiment: Path, output: Path, precision: Precision) -> int:
    model = NeuralLanguageModel.load(experiment)
    best = experiment / "best" if (experiment / "best").is_dir() else experiment
    metrics = read_json(best / "metrics.json")
    text = model.config.text
    names = {part: [Path(file).name for file in getattr(text, part)] for part in ("train", "dev")}
    model.config = model.config.model_copy(update={"text": text.model_copy(update=names)})
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(output) as writing:
        model.save(writing, metrics, precision=precision)
    size = sum(path.stat().st_size for path in output.iterdir())
    n_parameters = sum(p.numel() for p in model.parameters())
    print(
        f"{output}: {n_parameters / 1e6:.2f} million parameters, {size / 1e6:.1f} MB, perplexity "
        f"{metrics['perplexity']:.1f} on held-out text after update {metrics['step']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
