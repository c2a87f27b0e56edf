"""The weighted mean of the weights of models that were trained from one another.

    python tools/average_models.py OUT 0.3=exp/first 0.7=exp/second

Two runs that began with the same weights and went on at a low rate mostly lie in one valley, and
between them it is often deeper than at either (Wortsman et al. 2022, Model soups, arXiv
2203.05482).  Whether it is says `asr evaluate` on a dev set.  OUT is a model folder with the
configuration, the units and (with CTC-CRF) the label trigram of the last model, and those of its
intermediate heads that not all have.  Where only the last has residual blocks
(`model.subsampling_blocks`) they stand in the others as a run adds them to a model: with zeros in
the outer convolution.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from asr.checkpoint import atomic_folder, read_json
from asr.cli import run_program
from asr.errors import ConfigError
from asr.model_folders import find_model
from asr.models.recognizer import Recognizer

_HEADS = "network.heads."  # only training needs them, and the package's models have none
_BLOCKS = "network.subsampling.blocks."


def average(output: Path, parts: list[tuple[float, str]]) -> None:
    """Write the mean model.

    Raises:
        ConfigError: weights that do not sum to 1, or models of other sizes or units.
    """
    total = sum(weight for weight, _ in parts)
    if abs(total - 1) > 1e-6:
        raise ConfigError(f"the weights sum to {total:g}; they must sum to 1")
    *others, last = [Recognizer.load(name) for _, name in parts]
    last_state = _weights(last)
    states = [_with_blocks_of(last_state, _weights(model)) for model in (*others, last)]
    for other, state, (_, name) in zip(others, states, parts, strict=False):
        if _sizes(state) != _sizes(last_state) or other.tokenizer.symbols != last.tokenizer.symbols:
            raise ConfigError(
                f"{name} and {parts[-1][1]} differ in size or units; average models of which one "
                "was trained from the other"
            )
    weights = [weight for weight, _ in parts]
    names = [name for name in last_state if all(name in state for state in states)]
    means = {name: _mean(name, states, weights) for name in names}
    last.load_state_dict(means, strict=False)
    metrics = read_json(find_model(parts[-1][1]) / "metrics.json")
    kept = {name: metrics[name] for name in ("step", "epoch") if name in metrics}
    with atomic_folder(output) as writing:
        last.save(writing, kept | {"mean_of": weights})


def _with_blocks_of(last: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with the blocks of the last that change nothing, where they have none."""
    if any(name.startswith(_BLOCKS) for name in state):
        return state
    blocks = {
        name: value if ".inner." in name else torch.zeros_like(value)
        for name, value in last.items()
        if name.startswith(_BLOCKS)
    }
    return blocks | state


def _mean(name: str, states: list[dict[str, Tensor]], weights: list[float]) -> Tensor:
    tensors = [state[name] for state in states]
    if not tensors[-1].is_floating_point():
        return tensors[-1]
    return sum(
        (weight * tensor.double() for weight, tensor in zip(weights, tensors, strict=True)),
        start=tensors[-1].new_zeros(()).double(),
    ).to(tensors[-1].dtype)


def _sizes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {n: tuple(tensor.shape) for n, tensor in state.items() if not n.startswith(_HEADS)}


def _weights(model: Recognizer) -> dict[str, Tensor]:
    state: dict[str, Tensor] = model.state_dict()
    return {name: tensor for name, tensor in state.items() if name != "label_log_probs"}


def _part(text: str) -> tuple[float, str]:
    weight, _, name = text.partition("=")
    try:
        return float(weight), name
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: WEIGHT=MODEL is needed, as 0.5=exp") from None


def main(argv: list[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", metavar="OUT", type=Path, help="the model folder to write")
    parser.add_argument("parts", metavar="WEIGHT=MODEL", type=_part, nargs="+")
    arguments = parser.parse_args(argv)

    def run() -> int:
        average(arguments.output, arguments.parts)
        return 0

    return run_program("average_models", run)


if __name__ == "__main__":
    sys.exit(main())
