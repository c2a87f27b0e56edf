"""Training a neural language model: text -> units, streams of tokens, `fit`, perplexity."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr.errors import ConfigError, TextError, TrainingError
from asr.fit import FitResult, FitSettings, fit, has_checkpoint
from asr.nn.cells import State
from asr.text import load_tokenizer, normalize, train_sentencepiece
from asr.toml_config import claim_folder
from asr.training_log import Reporter
from asr.world import World, start_world
from lm.compressed import ByteReader, PathName
from lm.corpus import read_words
from lm.neural import END, START_SCALE, LstmLM, Nplm
from lm.neural_config import NeuralConfig, NeuralTextConfig
from lm.neural_model import NeuralLanguageModel
from lm.units import TokenizerUnits, Units, WordUnits, load_units

__all__ = [
    "TextBatch",
    "TextBatches",
    "TextTraining",
    "read_sentences",
    "start_from_model",
    "start_from_text",
    "train",
]

logger = logging.getLogger(__name__)

# What a run that goes on must not change: the state of the streams is among what is saved.
_FIXED = ("seed", "text", "model", "training.batch_size", "training.segment")
# Sentences that word pieces are learned from at most.
_N_FOR_PIECES = 200_000


@dataclass(frozen=True)
class TextBatch:
    """The next stretch of every stream.

    Attributes:
        inputs: (B, T) int64.
        targets: the tokens behind them, (B, T).
        is_first: whether the streams begin here.
        name: for an error message.
    """

    inputs: Tensor
    targets: Tensor
    is_first: bool
    name: str

    @property
    def weight(self) -> float:
        """Number of targets."""
        return float(self.targets.numel())

    @property
    def amount(self) -> float:
        """Number of targets."""
        return self.weight

    def to(self, device: torch.device) -> "TextBatch":
        """Return the batch on a device."""
        inputs = self.inputs.to(device, non_blocking=True)
        targets = self.targets.to(device, non_blocking=True)
        return TextBatch(inputs, targets, self.is_first, self.name)


class TextBatches:
    """A text as streams of equal length that are read side by side, a segment at a time.

    Each epoch starts at another place of the text, which is read round.  Tokens that do not fill
    the last column of the streams are left out of that epoch.

    Args:
        tokens: (N,) sentences one after the other, each ended by token 0.
        batch_size: streams of this process, B.
        segment: tokens of each that a batch holds at most, T.
        seed: decides where epochs start.
        rank: this process.
        size: number of processes.

    Raises:
        TrainingError: fewer tokens than streams.
    """

    def __init__(
        self,
        tokens: NDArray[np.integer[Any]],
        *,
        batch_size: int,
        segment: int,
        seed: int = 0,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        self.n_columns = len(tokens) // (batch_size * size)
        if not self.n_columns:
            raise TrainingError(
                f"a text of {len(tokens)} tokens does not fill {batch_size * size} streams; lower "
                "training.batch_size or give more text"
            )
        self.tokens, self.batch_size, self.segment = tokens, batch_size, segment
        self.seed, self.rank, self.size = seed, rank, size

    def __len__(self) -> int:
        return -(-self.n_columns // self.segment)

    def epoch(self, epoch: int, start: int) -> Iterator[TextBatch]:
        """Yield the batches of an epoch from number `start`."""
        generator = np.random.default_rng((self.seed, epoch))
        offset = int(generator.integers(len(self.tokens))) if epoch else 0
        rows = np.arange(self.batch_size) + self.rank * self.batch_size
        first = offset + rows[:, None] * self.n_columns
        for number in range(start, len(self)):
            low, high = number * self.segment, min((number + 1) * self.segment, self.n_columns)
            places = (first + np.arange(low - 1, high)) % len(self.tokens)
            stretch = torch.from_numpy(self.tokens[places].astype(np.int64))
            name = f"tokens {low} to {high - 1} of every stream in epoch {epoch}"
            yield TextBatch(stretch[:, :-1], stretch[:, 1:], number == 0, name)

    def largest(self) -> TextBatch:
        """Return the first batch."""
        return next(self.epoch(0, 0))


class TextTraining(nn.Module):
    """A network with its training loss, called as `module(batch)`: -log P of the targets.

    The state goes from batch to batch, without gradient (truncated back-propagation through
    time); it is saved with the module, so that training can go on exactly.  Where a batch begins
    with a sentence, its stream begins anew, as every sentence does that is scored.  (With several
    processes the state of the first one is saved, for all.)

    Args:
        network: what is trained.
        batch_size: streams.
        n_samples: tokens of a sampled softmax, see `OutputLayer.sampled_loss`; 0 for the exact
            loss.

    Reference: Williams and Peng, "An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories", Neural Computation 2, 1990.
    """

    def __init__(self, network: LstmLM | Nplm, batch_size: int, n_samples: int = 0) -> None:
        super().__init__()
        self.network = network
        self.n_samples = n_samples
        self._state: State = network.start(batch_size)

    def forward(self, batch: TextBatch) -> Tensor:
        """Return the loss summed over the targets, in nats, ()."""
        # A sentence's first input is the end of the sentence before it.
        is_new = (batch.inputs[:, 0] == END) | batch.is_first
        state = tuple(
            part.to(batch.inputs.device).masked_fill(is_new[None, :, None], 0)
            for part in self._state
        )
        hidden, state = self.network.hidden(batch.inputs, state)
        self._state = tuple(part.detach().to(self._state[0].dtype) for part in state)
        if self.training and self.n_samples:
            return self.network.output.sampled_loss(hidden, batch.targets, self.n_samples).sum()
        return -self.network.output.target_log_probs(hidden, batch.targets).sum()

    def get_extra_state(self) -> Tensor:
        """Return the state as integers, which averaging of weights leaves alone."""
        return torch.stack(self._state).cpu().view(torch.int32)

    def set_extra_state(self, state: Tensor) -> None:
        """Take up a saved state."""
        self._state = tuple(state.cpu().view(self._state[0].dtype))


class _TextTask:
    """What `fit` trains and measures."""

    def __init__(self, model: NeuralLanguageModel, dev: Sequence[str]) -> None:
        self.model = model
        settings = model.config.training
        self._module = TextTraining(model.network, settings.batch_size, settings.n_samples)
        self._dev = [model.units.encode(sentence) for sentence in dev]
        self._n_words = sum(len(sentence.split()) + 1 for sentence in dev)

    @property
    def module(self) -> nn.Module:
        return self._module

    def evaluate(self, world: World) -> dict[str, float]:
        sentences = self._dev[world.rank :: world.size]
        log_probs = self.model.log_probs(sentences)
        total = -world.sum(float(sum(part.sum(dtype=np.float64) for part in log_probs)))
        loss = total / world.sum(sum(len(tokens) + 1 for tokens in sentences))
        return {
            "loss": loss,
            "perplexity": math.exp(min(loss, 700)),
            "word_perplexity": math.exp(min(total / self._n_words, 700)),
        }

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        self.model.save(folder, metrics)


def train(
    config: NeuralConfig,
    folder: Path,
    *,
    init_from: PathName | None = None,
    reporter: Reporter | None = None,
) -> FitResult:
    """Train a neural language model; the same call goes on after an interruption.

    Args:
        config: text, network and optimisation.
        folder: experiment folder; `folder/best` becomes the model.
        init_from: a model to start from, with its units; see `start_from_model`.
        reporter: receives progress; `per_second` counts tokens.

    Raises:
        AsrError: bad configuration, unusable text, a loss that is not finite.
        KeyboardInterrupt: interrupted; the state is saved.
    """
    settings = config.training
    if settings.threads:
        torch.set_num_threads(settings.threads)
    world = start_world(settings.device)
    is_new = claim_folder(folder, config, _FIXED) if world.rank == 0 else True
    training, dev = _sentences(config.text)
    is_begun = has_checkpoint(folder)
    initial = NeuralLanguageModel.load(init_from) if init_from and not is_begun else None
    if initial is not None:
        units = initial.units
    else:
        units = _units(config.text, training) if is_new else load_units(folder)
    if world.rank == 0:
        units.save(folder)
    tokens = _encode(training, units)
    torch.manual_seed(config.seed)
    model = NeuralLanguageModel(config, units).to(world.device)
    batches = TextBatches(
        tokens,
        batch_size=settings.batch_size,
        segment=settings.segment,
        seed=config.seed,
        rank=world.rank,
        size=world.size,
    )
    n_parameters = sum(p.numel() for p in model.parameters())
    logger.info(
        "%d tokens of %d kinds, %d sentences for dev, %d batches an epoch, %.2f million "
        "parameters, on %s",
        len(tokens), len(units.symbols), len(dev), len(batches), n_parameters / 1e6, world.device,
    )  # fmt: skip
    if initial is not None:
        start_from_model(model, initial)
    elif not is_begun:
        start_from_text(model, tokens)
    task = _TextTask(model, dev)
    fitting = FitSettings.of(settings, seed=config.seed, prefix="network.")
    return fit(task, batches, fitting, folder, world=world, reporter=reporter)


def start_from_text(model: NeuralLanguageModel, tokens: NDArray[np.integer[Any]]) -> None:
    """Let a new network begin with the tokens' frequencies, and with vectors if it shall.

    Args:
        model: whose `config.training.vectors` says so.
        tokens: (N,) that it will be trained on.
    """
    network, n_tokens = model.network, len(model.symbols)
    counts = np.bincount(tokens, minlength=n_tokens)
    network.output.start_from(torch.from_numpy(counts))
    if model.config.training.vectors == "cooccurrence":
        from lm.word_vectors import cooccurrence_vectors  # loads scipy.sparse

        size = network.embedding.embedding_dim
        vectors = cooccurrence_vectors(tokens, n_tokens, size, seed=model.config.seed)
        with torch.no_grad():
            network.embedding.weight.copy_(torch.from_numpy(START_SCALE * vectors))


@torch.no_grad()
def start_from_model(model: NeuralLanguageModel, initial: NeuralLanguageModel) -> None:
    """Let a new network begin with the weights of a trained one, which may have fewer units.

    Units that it has more read what all units say, and nothing reads them yet (their outgoing
    weights are 0): the network computes what the trained one does, and goes on from there.

    Args:
        model: whose weights are random.
        initial: the trained one; but for `hidden_size` its network is the same.

    Raises:
        ConfigError: another network, or one with more units.

    Reference: Chen, Goodfellow and Shlens, "Net2Net: accelerating learning via knowledge transfer",
    ICLR 2016 (there units are split; here new ones begin with nothing to say).
    """
    own, other = model.config.model, initial.config.model
    free = {"hidden_size", "dropout"}
    differ = [
        name
        for name, value in own.model_dump().items()
        if name not in free and value != getattr(other, name)
    ]
    larger = own.hidden_size - other.hidden_size
    if differ or larger < 0 or (larger and own.kind != "lstm"):
        names = differ or ["hidden_size"]
        values = ", ".join(f"{name} = {getattr(other, name)}" for name in names)
        raise ConfigError(
            f"--init-from: {', '.join(names)} of [model] does not fit that model ({values}); "
            "only hidden_size of an lstm may be larger, and dropout may be another"
        )
    parts = initial.network.state_dict()
    for name, tensor in model.network.state_dict().items():
        trained = parts[name]
        n_gates = len(tensor) // own.hidden_size if ".rnn." in name else 1
        new = tensor.view(n_gates, len(tensor) // n_gates, -1)
        old = trained.view(n_gates, len(trained) // n_gates, -1)
        new[:, : old.shape[1], old.shape[2] :] = 0
        new[:, : old.shape[1], : old.shape[2]] = old


def read_sentences(paths: Sequence[PathName], *, normalized: bool = False) -> list[str]:
    """Read sentences, one a line, white space brought to single spaces.

    Args:
        paths: UTF-8 text, plain, gzip or xz; "-" is standard input.
        normalized: write them as transcripts are; see `asr.text.normalize`.

    Raises:
        TextError: a file that cannot be read or is not UTF-8.
    """
    sentences: list[str] = []
    for path in paths:
        with ByteReader(path, TextError) as reader:
            for block in reader.blocks():
                try:
                    lines = block.decode().split("\n")
                except UnicodeDecodeError as error:
                    raise TextError(
                        f"{reader.name}: {error.object[error.start : error.start + 8]!r} is not "
                        "UTF-8; convert the text to UTF-8"
                    ) from None
                if not lines[-1]:
                    lines.pop()
                bring = normalize if normalized else _single_spaced
                sentences += map(bring, lines)
    return sentences


def _single_spaced(line: str) -> str:
    return " ".join(line.split())


def _sentences(text: NeuralTextConfig) -> tuple[list[str], list[str]]:
    """Read the sentences to train on and those that are held out."""
    if not text.train:
        raise ConfigError("text.train is empty: name at least one file of text")
    training = [*filter(None, read_sentences(text.train, normalized=text.normalize))]
    if text.dev:
        dev = [*filter(None, read_sentences(text.dev, normalized=text.normalize))]
    else:
        dev = training[:: text.held_out]
        del training[:: text.held_out]
    for name, sentences in (("train", training), ("dev", dev)):
        if not sentences:
            raise TrainingError(f"no sentence for {name}; more text is needed")
    # Spread over the whole text.
    return training, dev[:: -(-len(dev) // text.dev_sentences)]


def _units(text: NeuralTextConfig, sentences: Sequence[str]) -> Units:
    if text.units == "tokenizer":
        if not text.tokenizer:
            raise ConfigError("text.units = 'tokenizer' needs the folder text.tokenizer")
        return TokenizerUnits(load_tokenizer(text.tokenizer))
    if text.units == "words":
        if text.words:
            return WordUnits(read_words(text.words))
        return WordUnits.most_frequent(sentences, text.n_units or 20_000)
    if text.units == "pieces":
        step = -(-len(sentences) // _N_FOR_PIECES)
        return TokenizerUnits(train_sentencepiece(sentences[::step], text.n_units or 1000))
    return TokenizerUnits.of_characters(sentences)


def _encode(sentences: Sequence[str], units: Units) -> NDArray[np.integer[Any]]:
    dtype = np.uint8 if len(units.symbols) <= 256 else np.int32
    parts = []
    for first in range(0, len(sentences), 10_000):
        block: list[int] = []
        for sentence in sentences[first : first + 10_000]:
            block += units.encode(sentence)
            block.append(END)
        parts.append(np.array(block, dtype))
    return np.concatenate(parts)
