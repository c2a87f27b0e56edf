"""A trained encoder-decoder as a folder: sequences of symbols in, sequences of symbols out."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from asr import __version__
from asr.checkpoint import read_json, read_tensors, write_json, write_tensors
from asr.config import TrainingConfig
from asr.errors import CheckpointError, TextError
from asr.nn.seq2seq import EncoderDecoder
from asr.search import Sampling, beam_search, greedy, sample
from asr.toml_config import Section, dump_toml, load_toml

__all__ = [
    "END_SYMBOL",
    "NetworkConfig",
    "Translation",
    "Translator",
    "TranslatorConfig",
    "TranslatorTrainingConfig",
]

END_SYMBOL = "</s>"


class NetworkConfig(Section):
    """The network; see `asr.nn.seq2seq.EncoderDecoder`."""

    embedding_size: int = Field(default=128, ge=1)
    hidden_size: int = Field(default=128, ge=1, description="per direction of the encoder")
    n_layers: int = Field(default=1, ge=1)
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    attention: bool = True
    dropout: float = Field(default=0.2, ge=0, lt=1)
    tie_embeddings: bool = Field(default=False, description="output layer: the target's vectors")


class TranslatorTrainingConfig(TrainingConfig):
    """Optimisation; see `asr.fit.fit`."""

    epochs: int = Field(default=10, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=200, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    batch_size: int = Field(default=128, ge=1, description="pairs per batch and process")
    batch_tokens: int = Field(
        default=0, ge=0, description="target tokens per batch, about, instead; 0: batch_size pairs"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


class TranslatorConfig(Section):
    """Everything that defines a translator and its training, but for the data."""

    seed: int = Field(default=0, ge=0)
    model: NetworkConfig = NetworkConfig()
    training: TranslatorTrainingConfig = TranslatorTrainingConfig()


@dataclass(frozen=True)
class Translation:
    """A target that was found for a source.

    Attributes:
        symbols: of the target.
        log_prob: log P(symbols, end | source).
        score: what it was ranked by.
    """

    symbols: tuple[str, ...]
    log_prob: float
    score: float


class Translator(nn.Module):
    """A network with the symbols that its tokens stand for.

    Args:
        config: what builds it; kept for saving.
        source_symbols: of the source.
        target_symbols: of the target; the first is `END_SYMBOL`.

    Raises:
        CheckpointError: the first symbol of the target is another, or a symbol comes twice.
    """

    def __init__(
        self,
        config: TranslatorConfig,
        source_symbols: Sequence[str],
        target_symbols: Sequence[str],
    ) -> None:
        super().__init__()
        for symbols in (source_symbols, target_symbols):
            if not symbols or len(set(symbols)) < len(symbols):
                raise CheckpointError("symbols of a translator are one or more, each once")
        if target_symbols[0] != END_SYMBOL:
            raise CheckpointError(
                f"the first target symbol is {target_symbols[0]!r}; {END_SYMBOL} is needed"
            )
        self.config = config
        self.source_symbols = tuple(source_symbols)
        self.target_symbols = tuple(target_symbols)
        self._source_ids = {symbol: number for number, symbol in enumerate(source_symbols)}
        self._target_ids = {symbol: number for number, symbol in enumerate(target_symbols)}
        model = config.model
        self.network = EncoderDecoder(
            len(source_symbols),
            len(target_symbols),
            embedding_size=model.embedding_size,
            hidden_size=model.hidden_size,
            n_layers=model.n_layers,
            cell=model.cell,
            attention=model.attention,
            dropout=model.dropout,
            tie_embeddings=model.tie_embeddings,
        )

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.network.parameters()).device

    def encode_source(self, symbols: Sequence[str]) -> list[int]:
        """Return the tokens of a source.

        Raises:
            TextError: it is empty, or holds a symbol that the model does not know.
        """
        if not symbols:
            raise TextError("an empty source has no translation; one symbol or more is needed")
        return _encode(symbols, self._source_ids, "source")

    def encode_target(self, symbols: Sequence[str]) -> list[int]:
        """Return the tokens of a target, without the end.

        Raises:
            TextError: it holds a symbol that the model does not know.
        """
        return _encode(symbols, self._target_ids, "target")

    def translate(
        self,
        sources: Sequence[Sequence[str]],
        *,
        width: int = 5,
        length_exponent: float = 0.0,
        max_length: int | None = None,
        batch_size: int = 128,
    ) -> list[list[Translation]]:
        """Find the likeliest targets of sources.

        Args:
            sources: each a sequence of symbols.
            width: of the beam; 1 takes the likeliest symbol at each step.
            length_exponent: see `asr.search.beam_search`.
            max_length: symbols of a target at most; None for twice as many as its source has and
                ten more.
            batch_size: sources at a time.

        Returns:
            For each source up to `width` targets, the best first.

        Raises:
            TextError: see `encode_source`.
        """
        tokens = [self.encode_source(source) for source in sources]
        found: list[list[Translation]] = [[] for _ in sources]
        for group in _groups_of_similar_length(tokens, batch_size):
            state = self._start([tokens[index] for index in group])
            limits = [max_length or 2 * len(tokens[index]) + 10 for index in group]
            if width == 1:
                results = [[one] for one in greedy(self.network, state, limits)]
            else:
                results = beam_search(
                    self.network, state, limits, width=width, length_exponent=length_exponent
                )
            for index, generated in zip(group, results, strict=True):
                found[index] = [
                    Translation(self._symbols(one.tokens), one.log_prob, one.score)
                    for one in generated
                ]
        return found

    def sample(
        self,
        sources: Sequence[Sequence[str]],
        *,
        sampling: Sampling,
        generator: torch.Generator,
        max_length: int,
    ) -> list[Translation]:
        """Draw a target for each source; see `asr.search.sample`.

        Args:
            sources: each a sequence of symbols.
            sampling: how probabilities are sharpened.
            generator: the source of chance, on the CPU.
            max_length: symbols of a target at most.

        Raises:
            TextError: see `encode_source`.
        """
        state = self._start([self.encode_source(source) for source in sources])
        limits = [max_length] * len(sources)
        drawn = sample(self.network, state, limits, generator=generator, sampling=sampling)
        return [Translation(self._symbols(one.tokens), one.log_prob, one.score) for one in drawn]

    @torch.inference_mode()
    def align(self, source: Sequence[str], target: Sequence[str]) -> Tensor:
        """Return where the decoder looks as it writes a target and its end.

        Returns:
            (U + 1, T): row i has the weights over the source when symbol i is written.

        Raises:
            ConfigError: the model has no attention.
            TextError: see `encode_source`.
        """
        state = self._start([self.encode_source(source)])
        inputs = torch.tensor([[0, *self.encode_target(target)]], device=self.device)
        return self.network.decoder.align(state, inputs)[0].cpu()

    @torch.inference_mode()
    def _start(self, sources: Sequence[Sequence[int]]) -> tuple[Tensor, ...]:
        lengths = torch.tensor([len(source) for source in sources])
        padded = pad_sequence([torch.tensor(source) for source in sources], batch_first=True)
        return self.network.start(padded.to(self.device), lengths)

    def _symbols(self, tokens: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.target_symbols[token] for token in tokens)

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        """Write config.toml, model.safetensors, symbols.json and metrics.json into a folder."""
        (folder / "config.toml").write_text(dump_toml(self.config), encoding="utf-8")
        write_tensors(folder / "model.safetensors", self.network.state_dict())
        symbols = {"source": self.source_symbols, "target": self.target_symbols}
        write_json(folder / "symbols.json", symbols)
        made_by = {"version": __version__, "torch": torch.__version__}
        write_json(folder / "metrics.json", {**made_by, **metrics})

    @classmethod
    def load(cls, name: str | os.PathLike[str], device: torch.device | str = "cpu") -> "Translator":
        """Read a model folder, in eval mode; an experiment folder stands for its `best`.

        Raises:
            CheckpointError: the folder is missing, damaged or inconsistent.
        """
        folder = Path(name)
        if not (folder / "model.safetensors").exists() and (folder / "best").is_dir():
            folder = folder / "best"
        if not (folder / "symbols.json").is_file():
            raise CheckpointError(
                f"{folder}: is no model folder of an encoder-decoder (it has no symbols.json)"
            )
        symbols = read_json(folder / "symbols.json")
        try:
            source, target = symbols["source"], symbols["target"]
        except (TypeError, KeyError):
            raise CheckpointError(
                f"{folder / 'symbols.json'}: has no lists source and target; copy it anew"
            ) from None
        translator = cls(load_toml(TranslatorConfig, folder / "config.toml"), source, target)
        tensors = read_tensors(folder / "model.safetensors")
        try:
            translator.network.load_state_dict(tensors)
        except RuntimeError as error:
            raise CheckpointError(
                f"{folder}: weights, symbols.json and config.toml do not belong together "
                f"({' '.join(str(error).split())[:120]}); copy the whole folder anew"
            ) from None
        return translator.to(device).eval()


def _encode(symbols: Sequence[str], ids: Mapping[str, int], side: str) -> list[int]:
    try:
        return [ids[symbol] for symbol in symbols]
    except KeyError as error:
        raise TextError(
            f"{''.join(symbols)[:40]!r}: the model knows no {side} symbol {error.args[0]!r}; leave "
            "it out or train with it"
        ) from None


def _groups_of_similar_length(
    sequences: Sequence[Sequence[int]], batch_size: int
) -> Iterator[list[int]]:
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    for first in range(0, len(order), batch_size):
        yield order[first : first + batch_size]
