"""The networks of this recipe: one answer to a picture, and a caption of a picture."""

from typing import Literal

import torch
from pictures import KINDS, WORDS
from pydantic import Field
from torch import Tensor, nn

from asr.config import TrainingConfig
from asr.nn.cells import State
from asr.nn.seq2seq import Decoder
from asr.toml_config import Section

__all__ = [
    "MODELS",
    "ONE_TO_ONE",
    "Captioner",
    "CaptionsConfig",
    "Classifier",
    "NetworkConfig",
    "PictureConfig",
    "PictureEncoder",
    "make_network",
]

ONE_TO_ONE = ("plain", "convolutions")
"""What names one thing, without and with convolutions."""
MODELS = (*ONE_TO_ONE, "captions", "attention")
"""All, in the order of the lesson; the last two caption, without and with attention."""


class PictureConfig(Section):
    """The pictures; see `pictures`."""

    size: int = Field(default=40, ge=36, description="pixels of a side")
    noise: float = Field(default=0.05, ge=0)
    single_fraction: float = Field(default=0.2, ge=0, le=1, description="with one thing alone")
    inside_fraction: float = Field(
        default=0.4, ge=0, le=1, description="of pairs of which one fits into the other"
    )
    train_inside_fraction: float = Field(
        default=0.8, ge=0, le=1, description="the same of the pictures to train on"
    )
    held_out_pairs: float = Field(default=0.2, gt=0, lt=1, description="of all pairs of kinds")
    held_out_things: list[str] = Field(default=["green triangle", "blue square"], min_length=1)
    n_dev: int = Field(default=1000, ge=1)
    n_test: int = Field(default=2000, ge=1, description="pictures of each test")


class NetworkConfig(Section):
    """The networks; see `Classifier` and `Captioner`."""

    hidden_size: int = Field(default=256, ge=1, description="of the plain network")
    channels: list[int] = Field(
        default=[8, 32, 64, 64], min_length=2, description="of convolutions"
    )
    summary_size: int = Field(default=128, ge=1)
    embedding_size: int = Field(default=32, ge=1)
    decoder_size: int = Field(default=128, ge=1)
    attention_size: int = Field(default=64, ge=1)
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    dropout: float = Field(default=0.1, ge=0, lt=1, description="of the decoder")


class OptimizationConfig(TrainingConfig):
    """Optimisation; see `asr.fit.fit`."""

    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=50, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    max_steps: int = Field(default=2000, ge=1, description="of a network that captions")
    one_to_one_steps: int = Field(default=500, ge=1, description="of a network that names")
    evaluate_every: int = Field(default=250, ge=1)
    batch_size: int = Field(default=32, ge=1)


class CaptionsConfig(Section):
    """The recipe's configuration."""

    seed: int = Field(default=0, ge=0)
    pictures: PictureConfig = PictureConfig()
    model: NetworkConfig = NetworkConfig()
    training: OptimizationConfig = OptimizationConfig()


class PictureEncoder(nn.Module):
    """Convolutions of kernel 3, and a summary of all places.

        h = relu(norm(conv(... relu(norm(conv(x))) ...)));   m_p = h_p + e_p
        summary = max over places p of relu(W m_p + b)

    where norm brings each channel to mean 0 and deviation 1 over the batch, and what was learned.
    The first and the last convolution keep the size, which those between halve: a small circle is
    told from a small square by single pixels.  Convolutions and maximum are blind to where
    something is; the learned vectors e say it.

    Args:
        size: pixels of a side, S.
        channels: of each convolution; the last is M.
        summary_size: of the summary.

    Reference: Ioffe and Szegedy, "Batch normalization", ICML 2015; Qi et al., "PointNet", CVPR
    2017 (the maximum over places).
    """

    def __init__(self, size: int, channels: list[int], summary_size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        strides = [1, *[2] * (len(channels) - 2), 1]
        for inputs, outputs, stride in zip([3, *channels[:-1]], channels, strides, strict=True):
            convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
            size = -(-size // stride)
        self.convolutions = nn.Sequential(*layers)
        self.memory_size = channels[-1]
        self.positions = nn.Parameter(torch.zeros(size**2, self.memory_size))
        self.summary = nn.Linear(self.memory_size, summary_size)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return the places m (B, P, M), row by row, and the summary, for pictures (B, 3, S, S)."""
        h = self.convolutions(pictures).flatten(2).transpose(1, 2)  # (B, P, M)
        places = h + self.positions
        return places, self.summary(places).relu().amax(1)


class Classifier(nn.Module):
    """One picture in, the kind of its one thing out.

        P(kind | x) = softmax(V h + v)

    where h is the summary of convolutions, or in a plain network relu(W x + w) of all pixels.

    Args:
        network: the sizes.
        size: pixels of a side, S.
        convolutions: whether it has any.
    """

    def __init__(self, network: NetworkConfig, size: int, *, convolutions: bool) -> None:
        super().__init__()
        if convolutions:
            self.encoder = PictureEncoder(size, network.channels, network.summary_size)
            self.output = nn.Linear(network.summary_size, len(KINDS))
        else:
            self.hidden = nn.Linear(3 * size**2, network.hidden_size)
            self.output = nn.Linear(network.hidden_size, len(KINDS))
        self.has_convolutions = convolutions

    def forward(self, pictures: Tensor) -> Tensor:
        """Return log P(kind | picture), (B, kinds), for pictures (B, 3, S, S)."""
        if self.has_convolutions:
            _, h = self.encoder(pictures)
        else:
            h = self.hidden(pictures.flatten(1)).relu()
        log_probs: Tensor = self.output(h).log_softmax(-1)
        return log_probs


class Captioner(nn.Module):
    """One picture in, words out: convolutions, and an LSTM that begins with their summary.

    With attention it looks at the places of the picture again before each word.

    Args:
        network: the sizes.
        size: pixels of a side, S.
        attention: whether it looks again.

    Reference: Vinyals et al., "Show and tell: a neural image caption generator", CVPR 2015; Xu et
    al., "Show, attend and tell", ICML 2015.
    """

    def __init__(self, network: NetworkConfig, size: int, *, attention: bool) -> None:
        super().__init__()
        self.encoder = PictureEncoder(size, network.channels, network.summary_size)
        self.decoder = Decoder(
            len(WORDS),
            memory_size=self.encoder.memory_size,
            summary_size=network.summary_size,
            embedding_size=network.embedding_size,
            hidden_size=network.decoder_size,
            cell=network.cell,
            attention_size=network.attention_size if attention else 0,
            dropout=network.dropout,
        )

    def start(self, pictures: Tensor) -> State:
        """Return the decoder's state before the first word, for pictures (B, 3, S, S)."""
        places, summary = self.encoder(pictures)
        lengths = torch.full((len(places),), places.shape[1])
        return self.decoder.start(places, lengths, summary)

    def forward(self, pictures: Tensor, tokens: Tensor) -> Tensor:
        """Return log P(. | words up to each, picture), (B, U, V), for words (B, U), first 0."""
        log_probs: Tensor = self.decoder(self.start(pictures), tokens)
        return log_probs


def make_network(config: CaptionsConfig, model: str) -> Classifier | Captioner:
    """Return a new network; the seed decides its weights.

    Args:
        config: the sizes.
        model: one of MODELS.
    """
    torch.manual_seed(config.seed)
    size = config.pictures.size
    if model in ONE_TO_ONE:
        return Classifier(config.model, size, convolutions=model == "convolutions")
    return Captioner(config.model, size, attention=model == "attention")
