"""Draw pictures with what a network says of them, and where it looks.

    python recipes/captions/show.py EXP MODEL OUTPUT.png [--test NAME] [--attention OTHER.png]

The pictures are fresh ones of a test (known, new pairs, new things); what is wrong is red.
OTHER.png has the first of them, and each word with the places that the network looked at before it
said the word.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from networks import MODELS, ONE_TO_ONE, Captioner, Classifier
from pictures import KINDS, WORDS, choices
from score import TESTS
from torch import Tensor
from train import PictureBatch, caption, load_network, make_batch, right_captions

from asr.cli import run_program
from asr.errors import ConfigError, DependencyError
from asr.nn.seq2seq import teacher_forced
from asr.search import END

__all__ = ["look", "main"]

N_PICTURES = 8


@torch.inference_mode()
def look(network: Captioner, pictures: Tensor, words: Tensor) -> Tensor:
    """Return where the network looks before it says words.

    Args:
        network: one with attention, in eval mode.
        pictures: (B, 3, S, S).
        words: with the end, (B, U) int64.

    Returns:
        Weights of the places, rows from above, (B, U, rows, columns).
    """
    weights = network.decoder.align(network.start(pictures), teacher_forced(words))
    side = round(weights.shape[-1] ** 0.5)
    return weights.view(*words.shape, side, side)


@torch.inference_mode()
def _say(network: Classifier | Captioner, batch: PictureBatch) -> list[str]:
    if isinstance(network, Captioner):
        return caption(network, batch.pictures)
    return [f"a {' '.join(KINDS[kind])}" for kind in network(batch.pictures).argmax(-1).tolist()]


def _image(picture: Tensor) -> Any:
    return picture.clamp(0, 1).permute(1, 2, 0).numpy()


def _draw_examples(network: Classifier | Captioner, batch: PictureBatch, figure: Any) -> None:
    axes = figure.subplots(2, N_PICTURES // 2)
    said, right = _say(network, batch), right_captions(batch)
    for axis, picture, one, other in zip(axes.flat, batch.pictures, said, right, strict=True):
        axis.imshow(_image(picture))
        # Two lines: the second begins with what the first thing is to the second one.
        lines = "\n".join([" ".join(one.split()[:4]), " ".join(one.split()[4:])])
        axis.set_title(lines, fontsize=8, color="black" if one == other else "red")
        axis.set_axis_off()


def _draw_attention(network: Captioner, batch: PictureBatch, figure: Any) -> None:
    said = caption(network, batch.pictures[:1])[0]
    words = [*said.split(), WORDS[END]]
    ids = torch.tensor([[WORDS.index(word) for word in words]])
    (weights,) = look(network, batch.pictures[:1], ids)
    axes = figure.subplots(2, -(-(len(words) + 1) // 2)).flat
    size = batch.pictures.shape[-1]
    axes[0].imshow(_image(batch.pictures[0]))
    for axis, word, places in zip(axes[1:], words, weights, strict=False):
        axis.imshow(_image(batch.pictures[0]).mean(-1), cmap="gray", vmin=0, vmax=1.5)
        axis.imshow(
            places, extent=(-0.5, size - 0.5, size - 0.5, -0.5), cmap="inferno", alpha=0.6, vmin=0,
        )  # fmt: skip
        axis.set_title(word.replace(WORDS[END], "end"), fontsize=9)
    for axis in axes:
        axis.set_axis_off()


def _run(arguments: argparse.Namespace) -> int:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("show needs matplotlib: pip install matplotlib") from None
    config, network = load_network(arguments.exp, arguments.model)
    pictures = config.pictures
    choice = choices(pictures.held_out_pairs, pictures.held_out_things, config.seed)[arguments.test]
    if not len(choice.singles) and arguments.model in ONE_TO_ONE:
        raise ConfigError(f"--test '{arguments.test}': {arguments.model} names single things only")
    if arguments.attention and arguments.model != "attention":
        raise ConfigError(f"--attention: {arguments.model} has none; use the model attention")
    batch = make_batch(config, arguments.model, choice, N_PICTURES, (config.seed, 3))

    def save(draw: Callable[[Any, PictureBatch, Any], None], output: Path) -> None:
        figure = Figure(figsize=(9, 4.6), layout="constrained")
        draw(network, batch, figure)
        output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(output, dpi=80)
        print(output)

    save(_draw_examples, arguments.output)
    if arguments.attention:
        save(_draw_attention, arguments.attention)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Draw what a network says of pictures.")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("model", choices=MODELS, help="which network")
    parser.add_argument("output", type=Path, help="receives the picture")
    parser.add_argument("--test", choices=TESTS, default=TESTS[1], help="(default: %(default)s)")
    parser.add_argument("--attention", type=Path, help="receives where the network looks")
    arguments = parser.parse_args(argv)
    return run_program("show", lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
