"""An LSTM that gives a text a label: from scratch, or from a language model (ULMFiT)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from sentiment_config import FineTuningConfig, HeadConfig
from text_training import Encoded, TextTask, train_network
from torch import Tensor, nn
from torch.nn import functional as F

from asr.errors import CheckpointError
from asr.nn.dropout import Dropout
from asr.nn.masking import sequence_mask
from asr.nn.recurrent import RecurrentStack
from asr.search import END
from asr.training_log import Reporter
from asr.world import World
from lm.neural_config import NeuralModelConfig
from lm.neural_model import NeuralLanguageModel

__all__ = ["LstmNetwork", "fine_tune", "pool", "start_from_language_model"]


class LstmNetwork(nn.Module):
    """The recurrent part of a language model under a head that reads all its outputs.

        h_1 ... h_T = stack(E w_1 ... E w_T);   y = V relu(W pool(h) + b) + c

    Embedding and stack are those of `lm.neural.LstmLM`, so that one's weights fit the other.

    Args:
        n_tokens: of the vocabulary; 0 is read before the first token of a text.
        n_labels: C.
        embedding_size: of the token vectors.
        hidden_size: units of a layer and direction, H.
        n_layers: recurrent layers.
        cell: "lstm", "gru" or "rnn".
        bidirectional: whether the layers read backwards, too.
        dropout: between the layers, 0 to 1.
        layer_norm: whether the layers' outputs are normalised.
        head_size: units of the head.
        head_dropout: of the token vectors, the pooled outputs and the head's units.
        token_dropout: part of the tokens that are not read, in training.

    Reference: Howard and Ruder, "Universal language model fine-tuning for text classification",
    ACL 2018, arXiv 1801.06146.
    """

    def __init__(
        self,
        n_tokens: int,
        n_labels: int,
        *,
        embedding_size: int = 128,
        hidden_size: int = 128,
        n_layers: int = 1,
        cell: str = "lstm",
        bidirectional: bool = False,
        dropout: float = 0.0,
        layer_norm: bool = False,
        head_size: int = 50,
        head_dropout: float = 0.0,
        token_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.token_dropout = token_dropout
        self.embedding = nn.Embedding(n_tokens, embedding_size)
        self.stack = RecurrentStack(
            embedding_size,
            hidden_size,
            n_layers,
            cell=cell,
            bidirectional=bidirectional,
            dropout=dropout,
            layer_norm=layer_norm,
        )
        self.dropout = Dropout(head_dropout)
        self.hidden = nn.Linear(3 * self.stack.output_size, head_size)
        self.output = nn.Linear(head_size, n_labels)
        self.n_directions = 2 if bidirectional else 1

    @classmethod
    def of(
        cls,
        model: NeuralModelConfig,
        head: HeadConfig,
        n_tokens: int,
        n_labels: int,
        *,
        bidirectional: bool = False,
    ) -> "LstmNetwork":
        """Make the network that a configuration describes."""
        return cls(
            n_tokens,
            n_labels,
            embedding_size=model.embedding_size,
            hidden_size=model.hidden_size,
            n_layers=model.n_layers,
            cell=model.cell,
            bidirectional=bidirectional,
            dropout=model.dropout,
            layer_norm=model.layer_norm,
            head_size=head.hidden_size,
            head_dropout=head.dropout,
            token_dropout=head.token_dropout,
        )

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (B, C) of texts.

        Args:
            tokens: (B, T) int64, without the 0 before the first.
            lengths: (B,) int64, 0 to T.
        """
        x = self.embedding(F.pad(tokens, (1, 0), value=END))
        if self.training:
            kept = torch.rand(x.shape[:2], device=x.device) >= self.token_dropout
            x = x * kept[..., None] / (1 - self.token_dropout)
        lengths = lengths + 1
        h = self.stack(self.dropout(x), lengths)
        pooled = self.dropout(pool(h, lengths, self.n_directions))
        logits: Tensor = self.output(self.dropout(torch.relu(self.hidden(pooled))))
        return logits

    def groups(self) -> list[tuple[str, ...]]:
        """Return prefixes of parameter names, from the head down to the token vectors."""
        layers = [(f"stack.layers.{n}.",) for n in reversed(range(len(self.stack.layers)))]
        return [("hidden.", "output."), *layers, ("embedding.",)]


def pool(h: Tensor, lengths: Tensor, n_directions: int = 1) -> Tensor:
    """Return [where reading ended; maximum; mean] of each sequence, (B, 3 D).

    Reading ended at the last frame, for a second direction at the first.

    Args:
        h: (B, T, D), 0 in the padding; the second half of D is the backward direction's, if any.
        lengths: (B,) int64, 1 to T.
    """
    lengths = lengths.to(h.device)
    ends = h[torch.arange(len(h), device=h.device), lengths - 1]
    if n_directions == 2:
        half = h.shape[-1] // 2
        ends = torch.cat([ends[:, :half], h[:, 0, half:]], dim=-1)
    inside = sequence_mask(lengths, h.shape[1])[..., None]
    highest = h.masked_fill(~inside, -torch.inf).amax(1)
    return torch.cat([ends, highest, h.sum(1) / lengths[:, None]], dim=-1)


def start_from_language_model(network: LstmNetwork, model: NeuralLanguageModel) -> None:
    """Copy token vectors and layers of a language model.

    Raises:
        CheckpointError: its sizes are others.
    """
    prefixes = ("embedding.", "stack.")
    given = {n: value for n, value in model.network.state_dict().items() if n.startswith(prefixes)}
    own = {n: value for n, value in network.state_dict().items() if n.startswith(prefixes)}
    shapes = ({name: value.shape for name, value in part.items()} for part in (given, own))
    if len(set(map(str, shapes))) > 1:
        raise CheckpointError(
            "the language model has other sizes than [model] or other pieces than the set; train "
            "it anew"
        )
    network.load_state_dict(given, strict=False)


def fine_tune(
    task: TextTask,
    network: LstmNetwork,
    train: Encoded,
    config: FineTuningConfig,
    folder: Path,
    *,
    world: World,
    seed: int,
    reporter: Reporter | None = None,
) -> None:
    """Train a pre-trained network from the head downwards.

    First the head alone for an epoch, then the top layer with it, and so on (gradual unfreezing);
    at last everything for `config.epochs`.  What lies d groups below the head learns at
    rate_factor^-d of the rate (discriminative fine-tuning).

    Args:
        task: of the network.
        network: see `start_from_language_model`.
        train: texts to train on.
        config: how to optimise.
        folder: experiment folder; the best network of the last stage is `folder/best`.
        world: where.
        seed: of order and dropout.
        reporter: receives progress.
    """
    groups = network.groups()
    factors = _rate_factors(groups, config.rate_factor)
    for n_open in range(1, len(groups) + 1):
        network.requires_grad_(True)
        is_last = n_open == len(groups)
        train_network(
            task,
            train,
            config if is_last else config.model_copy(update={"epochs": config.unfreeze_epochs}),
            folder if is_last else folder / f"open-{n_open}",
            world=world,
            seed=seed,
            rate_factors=factors,
            frozen=tuple(name for group in groups[n_open:] for name in group),
            reporter=reporter,
        )


def _rate_factors(
    groups: Sequence[tuple[str, ...]], factor: float
) -> tuple[tuple[str, float], ...]:
    return tuple((name, factor**-depth) for depth, names in enumerate(groups) for name in names)
