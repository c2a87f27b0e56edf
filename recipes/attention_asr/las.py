"""Listen, attend and spell: an ordinary recogniser listens, a decoder that attends spells.

The listener is a recogniser of `asr train`, CTC output and all, so that its folder is a model of
`asr transcribe`; the speller lies beside it in the same folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from asr.checkpoint import read_tensors, write_tensors
from asr.config import Config
from asr.data import Batch
from asr.decode.joint import CtcPrefixModel, JointModel
from asr.errors import CheckpointError
from asr.model_folders import find_model
from asr.models.ctc import ctc_loss
from asr.models.recognizer import Recognizer
from asr.nn.cells import State
from asr.nn.seq2seq import Decoder, sequence_loss, teacher_forced
from asr.search import beam_search
from asr.spec_augment import SpecAugment
from asr.toml_config import Section, dump_toml, load_toml
from asr.train import RecognizerTraining

__all__ = ["JointTraining", "LasConfig", "ListenAttendSpell", "Memory", "SpellerConfig"]

SPELLER_FILES = ("speller.toml", "speller.safetensors")


class SpellerConfig(Section):
    """The decoder and the loss; see `asr.nn.seq2seq.Decoder`."""

    embedding_size: int = Field(default=64, ge=1)
    hidden_size: int = Field(default=128, ge=1)
    n_layers: int = Field(default=1, ge=1)
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    attention_size: int = Field(default=128, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    ctc_weight: float = Field(default=0.3, ge=0, lt=1, description="in training and decoding")


class LasConfig(Config):
    """A recogniser's configuration, which describes the listener, and that of the speller."""

    speller: SpellerConfig = SpellerConfig()

    def listener(self) -> Config:
        """Return what `asr train` takes: the same without the speller."""
        return Config(**{name: getattr(self, name) for name in Config.model_fields})


@dataclass(frozen=True)
class Memory:
    """What was heard.

    Attributes:
        log_probs: of the CTC output, (B, T', V).
        lengths: frames, (B,).
        state: the speller's before its first step.
    """

    log_probs: Tensor
    lengths: Tensor
    state: State


@dataclass(frozen=True)
class ListenAttendSpell:
    """A listener and a speller.

        h = listener(x);   s_0 = tanh(A mean(h) + a)
        P(y_i | y_0 ... y_{i-1}, x) = decoder(s_{i-1}, y_{i-1}, h)

    Attributes:
        recognizer: the listener.
        decoder: the speller.
        config: what builds the speller.

    Reference: Chan et al., "Listen, attend and spell", ICASSP 2016; Kim, Hori and Watanabe,
    "Joint CTC-attention based end-to-end speech recognition using multi-task learning", ICASSP
    2017.
    """

    recognizer: Recognizer
    decoder: Decoder
    config: SpellerConfig

    @classmethod
    def around(cls, recognizer: Recognizer, config: SpellerConfig) -> "ListenAttendSpell":
        """Put a new speller beside a listener."""
        size = recognizer.network.stack.output_size
        decoder = Decoder(
            recognizer.tokenizer.n_tokens,
            memory_size=size,
            summary_size=size,
            embedding_size=config.embedding_size,
            hidden_size=config.hidden_size,
            n_layers=config.n_layers,
            cell=config.cell,
            attention_size=config.attention_size,
            dropout=config.dropout,
        )
        return cls(recognizer, decoder, config)

    def listen(self, features: Tensor, lengths: Tensor) -> Memory:
        """Encode normalised features (B, T, F)."""
        network = self.recognizer.network
        encoded, lengths, _ = network.encode(features, lengths)
        mean = encoded.sum(1) / lengths.clamp(min=1).to(encoded.device)[:, None]
        state = self.decoder.start(encoded, lengths, mean)
        return Memory(network.classify(encoded), lengths, state)

    def spell(self, memory: Memory, *, width: int, ctc_weight: float) -> list[tuple[int, ...]]:
        """Return the tokens that CTC and attention together find likeliest, by beam search."""
        ctc = CtcPrefixModel(memory.log_probs, memory.lengths)
        model = JointModel(ctc, self.decoder, ctc_weight)
        # No alignment has more tokens than frames.
        limits = memory.lengths.tolist()
        found = beam_search(model, model.start(memory.state), limits, width=width)
        return [best[0].tokens for best in found]

    @torch.inference_mode()
    def hear(self, features: Sequence[Tensor]) -> Memory:
        """Encode utterances, each unnormalised features (T, F)."""
        lengths = torch.tensor([len(each) for each in features])
        padded = pad_sequence(list(features), batch_first=True).float()
        padded = padded.to(self.recognizer.device)
        return self.listen(self.recognizer.normalizer(padded, lengths), lengths)

    @torch.inference_mode()
    def align(self, memory: Memory, tokens: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return where the speller looks as it writes tokens and their end, each (U + 1, T')."""
        targets = [torch.tensor([0, *each]) for each in tokens]
        inputs = pad_sequence(targets, batch_first=True).to(self.recognizer.device)
        weights = self.decoder.align(memory.state, inputs).cpu()
        sizes = zip([len(each) for each in targets], memory.lengths.tolist(), strict=True)
        return [row[:n, :length] for row, (n, length) in zip(weights, sizes, strict=True)]

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        """Write the recogniser's files and the speller's into a folder."""
        self.recognizer.save(folder, metrics)
        (folder / SPELLER_FILES[0]).write_text(dump_toml(self.config), encoding="utf-8")
        write_tensors(folder / SPELLER_FILES[1], self.decoder.state_dict())

    @classmethod
    def load(cls, name: Path, device: torch.device | str = "cpu") -> "ListenAttendSpell":
        """Read a model folder, in eval mode; an experiment folder stands for its `best`.

        Raises:
            CheckpointError: the folder is missing, damaged, or a recogniser's without speller.
        """
        folder = find_model(name)
        recognizer = Recognizer.load(folder, device)
        if not (folder / SPELLER_FILES[0]).is_file():
            raise CheckpointError(
                f"{folder}: a recogniser without a speller (it has no {SPELLER_FILES[0]}); it is "
                "for asr transcribe"
            )
        las = cls.around(recognizer, load_toml(SpellerConfig, folder / SPELLER_FILES[0]))
        try:
            las.decoder.load_state_dict(read_tensors(folder / SPELLER_FILES[1]))
        except RuntimeError as error:
            raise CheckpointError(
                f"{folder}: {SPELLER_FILES[1]} and {SPELLER_FILES[0]} do not belong together "
                f"({' '.join(str(error).split())[:120]}); copy the whole folder anew"
            ) from None
        las.decoder.to(device).eval()
        return las


class JointTraining(RecognizerTraining):
    """Listener and speller with their loss, called as `module(batch)`.

        loss = w (-log P_ctc(y | x)) + (1 - w) (-log P_attention(y, end | x))

    Args:
        las: what is trained; w is its `config.ctc_weight`.
        spec_augment: masks features; None for none.

    Reference: Kim, Hori and Watanabe 2017, eq. 9.
    """

    def __init__(self, las: ListenAttendSpell, spec_augment: SpecAugment | None) -> None:
        super().__init__(las.recognizer)
        self.decoder = las.decoder
        self.las, self.spec_augment = las, spec_augment

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss summed over the batch, in nats, ()."""
        features = self.recognizer.normalizer(batch.features, batch.feature_lengths)
        if self.spec_augment is not None:
            features = self.spec_augment(features, batch.feature_lengths)
        memory = self.las.listen(features, batch.feature_lengths)
        return self._loss(memory, batch, self.las.config.label_smoothing)

    def measure(self, batch: Batch) -> tuple[Tensor, list[str]]:
        """Return the loss without label smoothing, (), and texts found with the same weight."""
        features = self.recognizer.normalizer(batch.features, batch.feature_lengths)
        memory = self.las.listen(features, batch.feature_lengths)
        found = self.las.spell(memory, width=1, ctc_weight=self.las.config.ctc_weight)
        texts = [self.recognizer.tokenizer.decode(tokens) for tokens in found]
        return self._loss(memory, batch, 0.0), texts

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        """Write listener and speller."""
        self.las.save(folder, metrics)

    def _loss(self, memory: Memory, batch: Batch, label_smoothing: float) -> Tensor:
        # The padding of tokens is 0, so that one more is the end of the longest, too.
        targets = F.pad(batch.tokens, (0, 1))
        log_probs = self.decoder(memory.state, teacher_forced(targets))
        loss = sequence_loss(log_probs, targets, batch.token_lengths + 1, label_smoothing)
        weight = self.las.config.ctc_weight
        if not weight:
            return loss
        of_ctc = ctc_loss(memory.log_probs, memory.lengths, batch.tokens, batch.token_lengths)
        return (1 - weight) * loss + weight * of_ctc
