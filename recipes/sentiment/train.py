"""Train all models of all sets, and let them predict dev and test.

    python recipes/sentiment/train.py CONF EXP [--set A.B=C]

reads EXP/data as prepare.py writes it.  EXP/models/SET/MODEL-SEED receives dev.txt and test.txt, a
predicted label a line, and `best`, what predict.py loads (not of tfidf).  The same command goes on
after an interruption.
"""

import argparse
import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from cleaning import clean, fold
from lstm_classifier import fine_tune, start_from_language_model
from predictor import Predictor, make_lstm, make_transformer
from sentiment_config import (
    ClassifierConfig,
    ClassifierTrainingConfig,
    Model,
    SentimentConfig,
)
from sentiment_data import Example, Parts, read_part
from text_training import Encoded, TextTask, class_weights, run_network, train_network
from tfidf import best_regression, put_regression, tfidf_predictions
from torch import nn

from asr.checkpoint import atomic_folder, read_json, write_json
from asr.cli import run_program
from asr.errors import ConfigError
from asr.recipe_programs import timed
from asr.text import load_tokenizer
from asr.toml_config import load_toml
from asr.training_display import TrainingDisplay
from asr.world import World, select_device
from lm import neural_train
from lm.neural_config import NeuralConfig, NeuralTextConfig, NeuralTrainingConfig
from lm.neural_model import NeuralLanguageModel

__all__ = ["main", "seeds_of"]

_PARTS = ("train", "dev", "test")
# The sections that a model follows from, beside those that make the data.
_SECTIONS: dict[Model, tuple[str, ...]] = {
    "tfidf": (),
    "lstm": ("model", "head", "training"),
    "bilstm": ("model", "head", "training"),
    "ulmfit": ("model", "head", "lm", "ulmfit"),
    "frozen": ("transformer",),
    "finetuned": ("transformer",),
}
# What may be changed and gone on with.
_FREE = {"seeds", "device", "threads", "tensorboard", "keep", "checkpoint_every"}


@dataclass(frozen=True)
class Job:
    """A model to be trained on a set.

    Attributes:
        config: the recipe's.
        exp: experiment folder.
        set_name: of the set.
        kind: of the model.
        seed: of everything random.
    """

    config: SentimentConfig
    exp: Path
    set_name: str
    kind: Model
    seed: int

    @property
    def folder(self) -> Path:
        """Where the model goes."""
        return self.exp / "models" / self.set_name / f"{self.kind}-{self.seed}"

    @property
    def training(self) -> ClassifierTrainingConfig:
        """How it is trained."""
        if self.kind == "ulmfit":
            return self.config.ulmfit
        is_transformer = self.kind in ("frozen", "finetuned")
        return self.config.transformer if is_transformer else self.config.training


def seeds_of(config: SentimentConfig, kind: Model) -> range:
    """Return the seeds to train a model with: one where nothing is random."""
    if kind in ("tfidf", "frozen"):
        return range(1)
    return range(Job(config, Path(), "", kind, 0).training.seeds)


def train_all(config: SentimentConfig, exp: Path) -> None:
    """Do the work."""
    if any("ulmfit" in models for models in config.runs.values()):
        _train_language_model(config, exp)
    for set_name, models in config.runs.items():
        parts = Parts(*(read_part(exp / "data" / set_name / f"{p}.csv") for p in _PARTS))
        for kind in models:
            for seed in seeds_of(config, kind):
                _run(Job(config, exp, set_name, kind, seed), parts)


def _run(job: Job, parts: Parts) -> None:
    settings = {
        name: getattr(job.config, name).model_dump(mode="json", exclude=_FREE)
        for name in ("text", "preparation", *_SECTIONS[job.kind])
    }
    path = job.folder / "settings.json"
    if path.exists() and read_json(path) != settings:
        raise ConfigError(
            f"{job.folder}: was trained with other settings; give a new folder, or the same "
            "settings to go on with it"
        )
    if (job.folder / "test.txt").exists():
        return
    job.folder.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)
    print(f"-- {job.set_name}: {job.kind}, seed {job.seed}", flush=True)
    labels = sorted({example.label for example in parts.train})
    torch.manual_seed(job.seed)
    with timed(job.folder):
        predicted = _PROGRAMS[job.kind](job, parts, labels)
    # The test's last, for it says that all is done.
    for part, numbers in zip(("dev", "test"), predicted, strict=True):
        text = "".join(f"{labels[number]}\n" for number in numbers)
        (job.folder / f"{part}.txt").write_text(text, encoding="utf-8")


def _tfidf(job: Job, parts: Parts, labels: Sequence[str]) -> list[list[int]]:
    link, user = job.config.text.link, job.config.text.user
    each = [getattr(parts, part) for part in _PARTS]
    texts = [[fold(clean(e.text, link=link, user=user)) for e in part] for part in each]
    numbers = [[labels.index(e.label) for e in part] for part in each[:2]]
    return tfidf_predictions(texts, numbers, len(labels))


def _lstm(job: Job, parts: Parts, labels: Sequence[str]) -> list[list[int]]:
    pieces = load_tokenizer(job.exp / "data" / job.set_name / "tokenizer")
    predictor = make_lstm(_classifier_config(job, labels), pieces)
    if job.kind == "ulmfit":
        model = NeuralLanguageModel.load(job.exp / "lm")
        start_from_language_model(predictor.network, model)
    return _trained(job, predictor, parts)


def _finetuned(job: Job, parts: Parts, labels: Sequence[str]) -> list[list[int]]:
    config = _classifier_config(job, labels)
    return _trained(job, make_transformer(config, job.config.transformer.model), parts)


def _frozen(job: Job, parts: Parts, labels: Sequence[str]) -> list[list[int]]:
    """Choose the head on dev; nothing here is random."""
    predictor = make_transformer(_classifier_config(job, labels), job.config.transformer.model)
    network = predictor.network.to(select_device(job.training.device)).eval()
    texts = [_encoded(predictor, getattr(parts, part)) for part in _PARTS]
    head, network.head = network.head, nn.Identity()
    vectors = [run_network(network, part.tokens) for part in texts]
    network.head = head
    train, dev = ((v.numpy(), part.labels) for v, part in zip(vectors[:2], texts[:2], strict=True))
    put_regression(best_regression(*train, *dev, len(labels)), head)
    with atomic_folder(job.folder / "best") as writing:
        predictor.save(writing, {})
    head.cpu()
    return [head(part).argmax(1).tolist() for part in vectors[1:]]


def _trained(job: Job, predictor: Predictor, parts: Parts) -> list[list[int]]:
    train, dev, test = (_encoded(predictor, getattr(parts, part)) for part in _PARTS)
    if job.training.threads:
        torch.set_num_threads(job.training.threads)
    world = World(device=select_device(job.training.device))
    weights = class_weights(train.labels, len(predictor.config.labels), job.training.balance)
    task = TextTask(predictor.network, dev, weights, predictor.save)
    with TrainingDisplay(_describe) as display:
        options = {"world": world, "seed": job.seed, "reporter": display}
        if job.kind == "ulmfit":
            fine_tune(task, predictor.network, train, job.config.ulmfit, job.folder, **options)
        else:
            train_network(task, train, job.training, job.folder, **options)
    best = Predictor.load(job.folder, world.device).network
    return [run_network(best, part.tokens).argmax(1).tolist() for part in (dev, test)]


def _encoded(predictor: Predictor, examples: Sequence[Example]) -> Encoded:
    tokens = predictor.encode([example.text for example in examples])
    return Encoded(tokens, [predictor.config.labels.index(example.label) for example in examples])


def _classifier_config(job: Job, labels: Sequence[str]) -> ClassifierConfig:
    config = job.config
    return ClassifierConfig(
        kind=job.kind,
        labels=[*labels],
        text=config.text,
        model=config.model,
        head=config.head,
        transformer=config.transformer.model if job.kind == "frozen" else "",
    )


def _train_language_model(config: SentimentConfig, exp: Path) -> None:
    own = {"sets", "held_out"}
    neural = NeuralConfig(
        text=NeuralTextConfig(
            train=[str(exp / "data" / "lm.txt")],
            held_out=config.lm.held_out,
            units="tokenizer",
            tokenizer=str(exp / "data" / config.lm.sets[0] / "tokenizer"),
        ),
        model=config.model,
        training=NeuralTrainingConfig.model_validate(config.lm.model_dump(exclude=own)),
    )
    print("-- language model", flush=True)
    with timed(exp / "lm"), TrainingDisplay(_describe) as display:
        result = neural_train.train(neural, exp / "lm", reporter=display)
    perplexity = math.exp(result.best[0])
    print(f"{exp / 'lm' / 'best'}: perplexity {perplexity:.1f} a piece on held-out texts")


def _describe(values: Mapping[str, float]) -> str:
    return f"loss {values['loss']:.3f}  {values['per_second']:.0f}/s"


_PROGRAMS: dict[Model, Callable[[Job, Parts, Sequence[str]], list[list[int]]]] = {
    "tfidf": _tfidf,
    "lstm": _lstm,
    "bilstm": _lstm,
    "ulmfit": _lstm,
    "frozen": _frozen,
    "finetuned": _finetuned,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Train all models of all sets.")
    parser.add_argument("conf", type=Path, help="TOML file, see conf/")
    parser.add_argument("exp", type=Path, help="experiment folder, with data/")
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")

    def run() -> int:
        train_all(load_toml(SentimentConfig, arguments.conf, arguments.overrides), arguments.exp)
        return 0

    return run_program("train", run)


if __name__ == "__main__":
    sys.exit(main())
