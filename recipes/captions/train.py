"""Train the networks of this recipe on pictures that are drawn as they are needed.

    python recipes/captions/train.py CONFIG.toml EXP [MODEL ...] [--set A.B=C]

The models are plain, convolutions, captions and attention (default: all); each is EXP/MODEL/best.
The same command goes on after an interruption.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import MODELS, ONE_TO_ONE, Captioner, CaptionsConfig, Classifier, make_network
from pictures import WORDS, Choice, choices, draw, make_scenes
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from asr.checkpoint import read_tensors, write_json, write_tensors
from asr.cli import run_program
from asr.errors import CheckpointError, ConfigError
from asr.fit import FitSettings, fit
from asr.nn.seq2seq import sequence_loss, teacher_forced
from asr.recipe_programs import timed
from asr.search import END, greedy
from asr.toml_config import claim_folder, dump_toml, load_toml
from asr.training_display import TrainingDisplay
from asr.world import World, start_world

__all__ = [
    "PictureBatch",
    "PictureBatches",
    "PictureTraining",
    "caption",
    "is_wrong",
    "load_network",
    "main",
    "make_batch",
    "right_captions",
]

LONGEST = 12
"""Words of a caption at most."""


@dataclass(frozen=True)
class PictureBatch:
    """Pictures with what is right to say of them.

    Attributes:
        pictures: (B, 3, S, S).
        kinds: of the thing that is named first, (B,) int64.
        captions: words, each caption ended by token 0, which is also the padding, (B, U) int64.
        lengths: words with the ends, (B,) int64.
        name: for an error message.
        weight: terms of the loss: pictures, or words with the ends.
    """

    pictures: Tensor
    kinds: Tensor
    captions: Tensor
    lengths: Tensor
    name: str
    weight: float

    @property
    def amount(self) -> float:
        """Number of pictures."""
        return float(len(self.pictures))

    def to(self, device: torch.device) -> "PictureBatch":
        """Return the batch on a device."""
        moved = {name: getattr(self, name).to(device) for name in ("pictures", "kinds", "captions")}
        return replace(self, **moved)


def make_batch(
    config: CaptionsConfig,
    model: str,
    choice: Choice,
    n_pictures: int,
    seed: tuple[int, ...],
    *,
    is_training: bool = False,
) -> PictureBatch:
    """Draw pictures for a model; for those that name one thing, pictures of one thing.

    Args:
        config: what the pictures are like.
        model: one of MODELS.
        choice: what may be in them.
        n_pictures: how many.
        seed: decides everything.
        is_training: draw as many pairs one inside the other as are wanted to train on.
    """
    pictures, generator = config.pictures, np.random.default_rng(seed)
    is_single = model in ONE_TO_ONE
    fraction = 1.0 if is_single else pictures.single_fraction
    scenes = make_scenes(
        choice,
        n_pictures,
        generator,
        picture_size=pictures.size,
        single_fraction=fraction,
        inside_fraction=pictures.train_inside_fraction if is_training else pictures.inside_fraction,
    )
    drawn = draw(scenes, generator, picture_size=pictures.size, noise=pictures.noise)
    ids = {word: number for number, word in enumerate(WORDS)}
    words = [torch.tensor([ids[w] for w in [*c.split(), WORDS[END]]]) for c in scenes.captions()]
    lengths = torch.tensor([len(each) for each in words])
    return PictureBatch(
        pictures=torch.from_numpy(drawn),
        kinds=torch.from_numpy(scenes.kinds[:, 0].copy()),
        captions=pad_sequence(words, batch_first=True, padding_value=END),
        lengths=lengths,
        name=f"pictures of seed {seed}",
        weight=float(n_pictures if is_single else lengths.sum()),
    )


class PictureBatches:
    """Fresh pictures without end; an epoch is what lies between two evaluations.

    Args:
        config: the recipe's.
        model: one of MODELS.
        rank: this process.
    """

    def __init__(self, config: CaptionsConfig, model: str, rank: int = 0) -> None:
        self.config, self.model, self.rank = config, model, rank
        pictures = config.pictures
        self.choice = choices(pictures.held_out_pairs, pictures.held_out_things, config.seed)[
            "known"
        ]

    def __len__(self) -> int:
        return self.config.training.evaluate_every

    def epoch(self, epoch: int, start: int) -> Iterator[PictureBatch]:
        """Yield the batches of an epoch from number `start`."""
        for number in range(start, len(self)):
            yield self._batch((self.config.seed, 0, epoch, number, self.rank))

    def largest(self) -> PictureBatch:
        """Return a batch; none is larger than another by much."""
        return self._batch((self.config.seed, 0))

    def _batch(self, seed: tuple[int, ...]) -> PictureBatch:
        size = self.config.training.batch_size
        return make_batch(self.config, self.model, self.choice, size, seed, is_training=True)


class PictureTraining(nn.Module):
    """A network with its loss, called as `module(batch)`: -log P of what is right, summed."""

    def __init__(self, network: Classifier | Captioner) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: PictureBatch) -> Tensor:
        """Return the loss in nats, ()."""
        if isinstance(self.network, Classifier):
            return F.nll_loss(self.network(batch.pictures), batch.kinds, reduction="sum")
        log_probs = self.network(batch.pictures, teacher_forced(batch.captions))
        return sequence_loss(log_probs, batch.captions, batch.lengths)


@torch.inference_mode()
def caption(network: Captioner, pictures: Tensor) -> list[str]:
    """Return what the network says of pictures (B, 3, S, S): the likeliest word at each step."""
    found = greedy(network.decoder, network.start(pictures), [LONGEST] * len(pictures))
    return [" ".join(WORDS[token] for token in each.tokens) for each in found]


@torch.inference_mode()
def is_wrong(network: Classifier | Captioner, batch: PictureBatch) -> Tensor:
    """Return of which pictures the network says something wrong, (B,) bool."""
    if isinstance(network, Classifier):
        found: Tensor = network(batch.pictures).argmax(-1)
        return (found != batch.kinds).cpu()
    said = caption(network, batch.pictures)
    return torch.tensor([a != b for a, b in zip(said, right_captions(batch), strict=True)])


def right_captions(batch: PictureBatch) -> list[str]:
    """Return what is right to say of a batch's pictures."""
    rows = zip(batch.captions.tolist(), batch.lengths.tolist(), strict=True)
    return [" ".join(WORDS[token] for token in row[: length - 1]) for row, length in rows]


class _PictureTask:
    """What `fit` trains and measures."""

    def __init__(self, config: CaptionsConfig, model: str, dev: PictureBatch) -> None:
        self.config, self.dev = config, dev
        self.network = make_network(config, model)
        self._module = PictureTraining(self.network)

    @property
    def module(self) -> nn.Module:
        return self._module

    def evaluate(self, world: World) -> dict[str, float]:
        dev = self.dev.to(world.device)
        loss = float(self._module(dev)) / dev.weight
        return {"error": float(is_wrong(self.network, dev).double().mean()), "loss": loss}

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        (folder / "config.toml").write_text(dump_toml(self.config), encoding="utf-8")
        write_tensors(folder / "model.safetensors", self.network.state_dict())
        write_json(folder / "metrics.json", dict(metrics))


def load_network(exp: Path, model: str) -> tuple[CaptionsConfig, Classifier | Captioner]:
    """Read the best network of a model, in eval mode.

    Raises:
        CheckpointError: it was not trained, or its files do not belong together.
    """
    folder = exp / model / "best"
    if not (folder / "config.toml").is_file():
        raise CheckpointError(f"{folder}: no network there; train {model} first")
    config = load_toml(CaptionsConfig, folder / "config.toml")
    network = make_network(config, model)
    try:
        network.load_state_dict(read_tensors(folder / "model.safetensors"))
    except RuntimeError:
        raise CheckpointError(
            f"{folder}: weights and config.toml do not belong together; train anew in a new folder"
        ) from None
    return config, network.eval()


def train(config: CaptionsConfig, model: str, folder: Path) -> None:
    """Train one network; the same call goes on after an interruption.

    Raises:
        ConfigError: the folder holds a run with other pictures or another network.
    """
    settings = config.training
    if settings.threads:
        torch.set_num_threads(settings.threads)
    world = start_world(settings.device)
    claim_folder(folder, config, ("seed", "pictures", "model", "training.batch_size"))
    is_single = model in ONE_TO_ONE
    n_steps = settings.one_to_one_steps if is_single else settings.max_steps
    fitting = FitSettings.of(
        settings.model_copy(
            update={"max_steps": n_steps, "epochs": -(-n_steps // settings.evaluate_every)}
        ),
        seed=config.seed,
        prefix="network.",
        minimise=("error", "loss"),
    )
    batches = PictureBatches(config, model, world.rank)
    # Of the pictures, not of the pairs, that training does not see.
    dev = make_batch(config, model, batches.choice, config.pictures.n_dev, (config.seed, 1))
    task = _PictureTask(config, model, dev)

    def describe(values: Mapping[str, float]) -> str:
        return f"{model}: loss {values['loss']:.3f}  {values['per_second']:.0f} pictures/s"

    with timed(folder), TrainingDisplay(describe) as display:
        result = fit(task, batches, fitting, folder, world=world, reporter=display)
    print(
        f"{folder / 'best'}: {result.best[0]:.2%} wrong on dev after update {result.best_step}; "
        f"ended after {result.step} updates ({result.reason})",
        flush=True,
    )


def _run(arguments: argparse.Namespace) -> int:
    config = load_toml(CaptionsConfig, arguments.config, arguments.overrides)
    models = arguments.models or MODELS
    for model in models:
        if model not in MODELS:
            raise ConfigError(f"model {model!r}: use {', '.join(MODELS)}")
    try:
        for model in models:
            train(config, model, arguments.exp / model)
    except KeyboardInterrupt:
        print(f"train: interrupted; the same command goes on in {arguments.exp}", file=sys.stderr)
        return 130
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Train the networks of this recipe.")
    parser.add_argument("config", type=Path, help="TOML file, see conf/")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(MODELS)}")
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s")
    return run_program("train", lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
