"""Train the networks of this recipe.

    python recipes/frame_labels/train.py CONFIG.toml EXP [MODEL ...] [--set A.B=C]

reads EXP/manifests of the parts train and dev, and EXP/alignments.jsonl.  The models are mlp and
bilstm (default: both); each is EXP/MODEL/best.  The same command goes on after an interruption.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from frames import LabelledUtterance, Segment, phone_names, read_labelled, read_segments
from labeller import MODELS, FrameBatches, FrameLabelsConfig, FrameTask, make_labeller

from asr.cli import run_program
from asr.errors import ConfigError
from asr.features import FeatureExtractor
from asr.fit import FitSettings, fit
from asr.recipe_programs import timed
from asr.toml_config import claim_folder, load_toml
from asr.training_display import TrainingDisplay
from asr.world import start_world

__all__ = ["main", "read_part"]


def read_part(
    exp: Path, part: str, segments: Mapping[str, Sequence[Segment]], config: FrameLabelsConfig
) -> list[LabelledUtterance]:
    """Read a part of the data; see `frames.read_labelled`.

    Args:
        exp: experiment folder with manifests/PART.jsonl.
        part: train, dev or test.
        segments: of its alignments.jsonl; see `frames.read_segments`.
        config: what the networks see.
    """
    extractor = FeatureExtractor(n_mels=config.input.n_mels)
    manifest = exp / "manifests" / f"{part}.jsonl"
    return read_labelled(manifest, segments, extractor, config.input.stride)


def _run(arguments: argparse.Namespace) -> int:
    config = load_toml(FrameLabelsConfig, arguments.config, arguments.overrides)
    settings = config.training
    if settings.threads:
        torch.set_num_threads(settings.threads)
    world = start_world(settings.device)
    segments = read_segments(arguments.exp / "alignments.jsonl")
    phones = phone_names(segments)
    training = read_part(arguments.exp, "train", segments, config)
    dev = read_part(arguments.exp, "dev", segments, config)
    n_frames = sum(len(utterance.labels) for utterance in training)
    print(f"{len(training)} utterances, {n_frames:,} frames, {len(phones) - 1} phones")
    fitting = FitSettings.of(
        settings, seed=config.seed, prefix="network.", minimise=("error", "loss")
    )
    for model in arguments.models or MODELS:
        if model not in MODELS:
            raise ConfigError(f"model {model!r}: use {' or '.join(MODELS)}")
        folder = arguments.exp / model
        claim_folder(folder, config, ("seed", "input", "model"))
        batches = FrameBatches(training, settings.batch_size, config.seed, world)
        task = FrameTask(make_labeller(model, config, len(phones)), config, dev)

        def describe(values: Mapping[str, float], model: str = model) -> str:
            return f"{model}: loss {values['loss']:.3f}  {values['per_second']:.0f} frames/s"

        with timed(folder), TrainingDisplay(describe) as display:
            result = fit(task, batches, fitting, folder, world=world, reporter=display)
        print(
            f"{folder / 'best'}: {result.best[0]:.2%} of dev frames wrong after update "
            f"{result.best_step}; ended after {result.step} updates ({result.reason})",
            flush=True,
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Train networks that label frames with phones.")
    parser.add_argument("config", type=Path, help="TOML file, see conf/")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s")
    return run_program("train", lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
