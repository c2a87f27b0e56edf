"""The acoustic model: convolutional subsampling, stacked BiLSTM, CTC."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from asr.nn.dropout import Dropout
from asr.nn.masking import sequence_mask
from asr.nn.recurrent import RecurrentStack
from asr.nn.subsampling import ConvSubsampling

__all__ = ["CtcModel", "CtcOutput", "consistency_loss", "ctc_loss"]


@dataclass(frozen=True)
class CtcOutput:
    """What the acoustic model says of a batch.

    Attributes:
        log_probs: log P(symbol | frame), float32 (B, T', V); meaningless beyond the lengths.
        lengths: valid frames, (B,).
        intermediate: log-probabilities of the intermediate heads, each (B, T', V).
    """

    log_probs: Tensor
    lengths: Tensor
    intermediate: tuple[Tensor, ...] = ()


class CtcModel(nn.Module):
    """Subsampling -> N recurrent layers -> linear -> log-softmax over the CTC symbols.

    With intermediate heads (Lee and Watanabe 2021, arXiv 2102.03216) a linear layer of its
    own reads the output of a lower layer in training.

    Args:
        n_features: size of a feature frame.
        n_tokens: symbols with the blank, V.
        subsampling: frames in per frame out: 2, 3, 4 or 8.
        subsampling_channels: channels of the convolutions.
        subsampling_blocks: residual blocks after each convolution; empty for none.
        input_size: size of a frame after subsampling.
        cell: "lstm", "gru" or "rnn".
        hidden_size: units per layer and direction, H.
        n_layers: recurrent layers.
        projection_size: size of a linear layer after each recurrent layer; 0 for none.
        dropout: between layers and before the output, 0 to 1.
        layer_norm: whether layer outputs are normalised.
        weight_drop: of the recurrent weights, in training; see `asr.nn.recurrent.RecurrentLayer`.
        intermediate_layers: number (from 1) of each layer that has a head in training.
    """

    def __init__(
        self,
        n_features: int,
        n_tokens: int,
        *,
        subsampling: int = 4,
        subsampling_channels: int = 32,
        subsampling_blocks: tuple[int, ...] = (),
        input_size: int = 320,
        cell: str = "lstm",
        hidden_size: int = 320,
        n_layers: int = 4,
        projection_size: int = 0,
        dropout: float = 0.0,
        layer_norm: bool = True,
        weight_drop: float = 0.0,
        intermediate_layers: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.subsampling = ConvSubsampling(
            n_features, subsampling_channels, subsampling, input_size, subsampling_blocks
        )
        self.subsampling_factor = subsampling
        self.stack = RecurrentStack(
            input_size,
            hidden_size,
            n_layers,
            cell=cell,
            bidirectional=True,
            projection_size=projection_size,
            dropout=dropout,
            layer_norm=layer_norm,
            weight_drop=weight_drop,
        )
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(self.stack.output_size, n_tokens)
        self.heads = nn.ModuleDict(
            {str(n): nn.Linear(self.stack.output_size, n_tokens) for n in intermediate_layers}
        )

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Return the number of output frames for numbers of feature frames, same shape."""
        return self.subsampling.output_lengths(lengths)

    def forward(self, features: Tensor, lengths: Tensor) -> CtcOutput:
        """Compute the log-probabilities of a batch.

        Args:
            features: normalised features (B, T, F).
            lengths: valid frames (B,).
        """
        x, lengths, intermediate = self.encode(features, lengths)
        return CtcOutput(self.classify(x), lengths, intermediate)

    def encode(
        self, features: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Return what the output layer reads, for a decoder that reads it, too.

        Args:
            features: normalised features (B, T, F).
            lengths: valid frames (B,).

        Returns:
            (B, T', O), zero in the padding; valid frames (B,); what the intermediate heads say.
        """
        x, lengths = self.subsampling(features, lengths)
        intermediate = []
        for number, layer in enumerate(self.stack.layers, start=1):
            x = layer(x, lengths)
            if self.training and str(number) in self.heads:
                intermediate.append(_log_softmax(self.heads[str(number)](x)))
            x = self.dropout(x)
        return x, lengths, tuple(intermediate)

    def classify(self, x: Tensor) -> Tensor:
        """Return log P(symbol | frame), float32 (B, T', V), for what `encode` gives (B, T', O)."""
        return _log_softmax(self.output(x))


def _log_softmax(logits: Tensor) -> Tensor:
    # float32 also under autocast: CTC sums over thousands of paths.
    return logits.float().log_softmax(dim=-1)


def ctc_loss(log_probs: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor) -> Tensor:
    """Return the CTC loss of a batch, -sum over utterances of log P(tokens | features).

    Args:
        log_probs: (B, T, V), symbol 0 is the blank.
        lengths: frames (B,).
        tokens: targets (B, U), padded.
        token_lengths: target lengths (B,).

    Returns:
        The sum in nats, (); infinite when a target needs more frames than there are.

    Reference:
        Graves et al. 2006, Connectionist Temporal Classification, eq. 8.
    """
    with torch.autocast(log_probs.device.type, enabled=False):
        log_probs = log_probs.float()
        if _trains_faster(log_probs):
            loss: Tensor = _CtcLoss.apply(  # type: ignore[no-untyped-call]
                log_probs, lengths, tokens, token_lengths
            )
            return loss
        return nn.functional.ctc_loss(
            log_probs.transpose(0, 1), tokens, lengths, token_lengths, reduction="sum"
        )


def _trains_faster(log_probs: Tensor) -> bool:
    """Return whether the compiled loop takes these: it knows no NaN, which must not be hidden."""
    return (
        log_probs.device.type == "cpu"
        and torch.is_grad_enabled()
        and log_probs.requires_grad
        and bool(log_probs.isfinite().all())
    )


class _CtcLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, log_probs: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor
    ) -> Tensor:
        from asr.models.ctc_forward_backward import losses_and_posteriors

        losses, posteriors = losses_and_posteriors(log_probs, lengths, tokens, token_lengths)
        ctx.save_for_backward(posteriors)
        return losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (posteriors,) = ctx.saved_tensors
        return posteriors * -gradient, None, None, None


def consistency_loss(log_probs_a: Tensor, log_probs_b: Tensor, lengths: Tensor) -> Tensor:
    """Return how far the outputs for two augmented views of the same audio are apart.

    Half the sum over frames of KL(sg(b) || a) + KL(sg(a) || b), where sg stops the gradient.

    Args:
        log_probs_a: (B, T, V).
        log_probs_b: (B, T, V).
        lengths: frames (B,).

    Returns:
        The sum in nats, ().

    Reference:
        Yao et al. 2024, CR-CTC: Consistency regularization on CTC, arXiv 2410.05101, eq. 5.
    """
    lengths = lengths.to(log_probs_a.device)
    mask = sequence_mask(lengths, log_probs_a.shape[1]).unsqueeze(-1)

    def divergence(target: Tensor, estimate: Tensor) -> Tensor:
        target = target.detach()
        return ((target.exp() * (target - estimate)) * mask).sum()

    return 0.5 * (divergence(log_probs_b, log_probs_a) + divergence(log_probs_a, log_probs_b))
