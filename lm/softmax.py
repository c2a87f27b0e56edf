"""The output layer of neural language models: full, adaptive, or sampled for training."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.errors import ConfigError

__all__ = ["OutputLayer"]


class OutputLayer(nn.Module):
    """From hidden vectors to the probabilities of all tokens, which sum to 1.

        P(w | x) = softmax(A y + b)_w,   y = W x tied, x else

    Tied, A is the embedding's matrix.  With cutoffs the softmax is adaptive: of tokens numbered by
    falling frequency, those before the first cutoff and one entry c for each tail behind it share
    a softmax, and each tail has one of its own, which is needed for its tokens alone:

        P(w | x) = P(c | x) P(w | c, x)

    Args:
        input_size: Size of the hidden vectors, D.
        n_tokens: V.
        tied: The embedding whose matrix to use; None for a matrix of its own.
        cutoffs: Where tails begin; () for none.

    Raises:
        ConfigError: If cutoffs do not rise within 1 to V - 1.

    Reference: Press and Wolf, "Using the output embedding to improve language models", EACL 2017;
    Grave et al., "Efficient softmax approximation for GPUs", ICML 2017 (there tails are also made
    of smaller vectors; here they are the embedding's).
    """

    def __init__(
        self,
        input_size: int,
        n_tokens: int,
        *,
        tied: nn.Embedding | None = None,
        cutoffs: Sequence[int] = (),
    ) -> None:
        super().__init__()
        bounds = [0, *cutoffs, n_tokens]
        if bounds != sorted(set(bounds)):
            raise ConfigError(
                f"cutoffs {list(cutoffs)} for {n_tokens} tokens: rising numbers from 1 to "
                f"{n_tokens - 1} are needed"
            )
        self.n_tokens = n_tokens
        self.cutoffs = tuple(cutoffs)
        self._tied: tuple[nn.Embedding, ...] = ()
        self.linear: nn.Module = nn.Identity()
        size = input_size
        if tied is not None:
            # In a tuple, so that the matrix is a parameter of the embedding alone.
            self._tied = (tied,)
            size = tied.embedding_dim
            if input_size != size:
                self.linear = nn.Linear(input_size, size, bias=False)
            self.bias = nn.Parameter(torch.zeros(n_tokens))
        else:
            self.linear = nn.Linear(input_size, n_tokens)
        self.tails = nn.Linear(size, len(cutoffs)) if cutoffs else None

    @torch.no_grad()
    def start_from(self, counts: Tensor) -> None:
        """Set the biases so that zero vectors give the tokens' frequencies.

        Args:
            counts: (V,) of each token in the training text.
        """
        frequencies = (counts.double() + 0.5) / (counts.sum() + 0.5 * self.n_tokens)
        self._matrix()[1].copy_(frequencies.log())
        for number, (first, end) in enumerate(self._tail_bounds()):
            if self.tails is not None:
                self.tails.bias[number] = frequencies[first:end].sum().log()

    def forward(self, x: Tensor) -> Tensor:
        """Return log P(w | x) of all tokens, float32 (..., V), for x (..., D)."""
        y = self.project(x)
        logits = self._logits(y, 0, self.n_tokens)
        if self.tails is None:
            return logits.log_softmax(-1)
        n_head = self.cutoffs[0]
        head = torch.cat([logits[..., :n_head], self.tails(y).float()], -1).log_softmax(-1)
        parts = [head[..., :n_head]]
        for number, (first, end) in enumerate(self._tail_bounds()):
            within = logits[..., first:end].log_softmax(-1)
            parts.append(head[..., n_head + number, None] + within)
        return torch.cat(parts, -1)

    def target_log_probs(self, x: Tensor, targets: Tensor) -> Tensor:
        """Return log P(target | x), float32 (...), for x (..., D) and targets (...)."""
        y = self.project(x).flatten(0, -2)
        flat = targets.flatten()
        if self.tails is None:
            log_probs = _picked(self._logits(y, 0, self.n_tokens), flat)
            return log_probs.view_as(targets)
        n_head = self.cutoffs[0]
        groups = self.groups(flat)
        head = torch.cat([self._logits(y, 0, n_head), self.tails(y).float()], -1)
        log_probs = _picked(head, flat.where(groups == 0, n_head + groups - 1))
        for number, (first, end) in enumerate(self._tail_bounds(), start=1):
            (rows,) = (groups == number).nonzero(as_tuple=True)
            within = _picked(self._logits(y[rows], first, end), flat[rows] - first)
            log_probs = log_probs.index_add(0, rows, within)
        return log_probs.view_as(targets)

    def sampled_loss(self, x: Tensor, targets: Tensor, n_samples: int) -> Tensor:
        """Return an estimate of -log P(target | x) from few tokens, by importance sampling.

            f(w) = (A y + b)_w
            loss = log(exp f(target) + sum over i with w_i != target of exp f(w_i) / (n q(w_i)))
                   - f(target)

        The n tokens w_i are drawn from q, for all x together; q(w) falls with the token's number as
        Zipf's law says.  The sum is right on average, so that many tokens give the exact loss.

        Args:
            x: (..., D).
            targets: (...).
            n_samples: n.

        Returns:
            Float32 (...).

        Raises:
            ConfigError: The softmax is adaptive.

        Reference: Bengio and Senecal, "Adaptive importance sampling to accelerate training of a
        neural probabilistic language model", IEEE Trans. Neural Networks 19, 2008.
        """
        if self.tails is not None:
            raise ConfigError("a sampled softmax has no cutoffs; leave one of the two out")
        y, flat = self.project(x).flatten(0, -2), targets.flatten()
        uniform = torch.rand(n_samples, device=y.device, dtype=torch.float64)
        drawn = torch.exp(uniform * math.log(self.n_tokens + 1)).long() - 1
        drawn = drawn.clamp(0, self.n_tokens - 1)
        matrix, bias = self._matrix()
        others = F.linear(y, matrix[drawn], bias[drawn]).float()
        others = others - self._log_expected(drawn, n_samples)
        others = others.masked_fill(drawn == flat[:, None], -torch.inf)
        own = self.logits_of(y, flat)
        loss = torch.logaddexp(others.logsumexp(-1), own) - own
        return loss.view_as(targets)

    def _log_expected(self, tokens: Tensor, n_samples: int) -> Tensor:
        """The logarithm of how often a token is among the samples, on average."""
        shares = torch.log1p(1 / (tokens + 1).double()) / math.log(self.n_tokens + 1)
        return (n_samples * shares).log().float()

    # Single tokens: log P(w | x) = logit(w, x) + offset(group of w, x)

    def project(self, x: Tensor) -> Tensor:
        """Return y (..., E), which the matrix is multiplied with."""
        y: Tensor = self.linear(x) if self._tied else x
        return y

    def groups(self, tokens: Tensor) -> Tensor:
        """Return the softmax that each token is in: 0, or 1 and up for the tails."""
        bounds = torch.tensor(self.cutoffs, dtype=torch.int64, device=tokens.device)
        return torch.bucketize(tokens, bounds, right=True)

    def logits_of(self, y: Tensor, tokens: Tensor) -> Tensor:
        """Return the logit of one token for each y: float32 (N,), from (N, E) and (N,)."""
        matrix, bias = self._matrix()
        return ((y * matrix[tokens]).sum(-1) + bias[tokens]).float()

    def offsets(self, y: Tensor, group: int) -> Tensor:
        """Return what turns the logits of a group's tokens into log-probabilities.

        Args:
            y: (N, E).
            group: See `groups`.

        Returns:
            Float32 (N, 1 + n_tails) for group 0: the offset of its tokens, and log P(c | x) of
            each tail; (N, 1) for a tail: -log of the sum over its tokens.
        """
        if group:
            first, end = self._tail_bounds()[group - 1]
            return -self._logits(y, first, end).logsumexp(-1, keepdim=True)
        head = self._logits(y, 0, self.cutoffs[0] if self.cutoffs else self.n_tokens)
        if self.tails is None:
            return -head.logsumexp(-1, keepdim=True)
        tails = self.tails(y).float()
        normaliser = torch.cat([head, tails], -1).logsumexp(-1, keepdim=True)
        return torch.cat([-normaliser, tails - normaliser], -1)

    def _tail_bounds(self) -> list[tuple[int, int]]:
        return list(pairwise([*self.cutoffs, self.n_tokens]))

    def _matrix(self) -> tuple[Tensor, Tensor]:
        if self._tied:
            return self._tied[0].weight, self.bias
        assert isinstance(self.linear, nn.Linear)
        return self.linear.weight, self.linear.bias

    def _logits(self, y: Tensor, first: int, end: int) -> Tensor:
        matrix, bias = self._matrix()
        return F.linear(y, matrix[first:end], bias[first:end]).float()


def _picked(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the log-probability of one target for each row of logits."""
    return -F.cross_entropy(logits, targets, reduction="none")
