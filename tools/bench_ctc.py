"""The CTC loss and its gradient on a CPU, as trained here and by torch.

    python tools/bench_ctc.py [--rounds N]

Both take turns in one run on one thread; the best time of each counts.  The errors of the
posteriors, P(frame t emits v | target), are against torch in double precision.
"""

import argparse
import time

import torch
from torch import Tensor
from torch.nn.functional import ctc_loss as torchs_loss

from asr.models.ctc import ctc_loss

# (utterances, frames, labels, symbols): characters, phones, word pieces; long utterances.
SHAPES = [
    (32, 250, 180, 30),
    (24, 325, 150, 42),
    (24, 325, 60, 500),
    (8, 900, 400, 42),
]


def main() -> None:
    """Print a line for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8, help="times that each runs (default: 8)")
    n_rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(
        "utterances  frames  labels  symbols  ours/ms  torch/ms  torch/ours  error  torch's error"
    )
    for shape in SHAPES:
        ours, torchs, error, torchs_error = measure(shape, n_rounds)
        sizes = "{:10d}  {:6d}  {:6d}  {:7d}".format(*shape)
        times = f"{1e3 * ours:7.1f}  {1e3 * torchs:8.1f}  {torchs / ours:10.2f}"
        print(f"{sizes}  {times}  {error:5.0e}  {torchs_error:13.0e}", flush=True)


def measure(shape: tuple[int, int, int, int], n_rounds: int) -> tuple[float, float, float, float]:
    """Return the seconds of ours and of torch's, and the largest errors of the posteriors."""
    n, n_frames, n_labels, n_symbols = shape
    generator = torch.Generator().manual_seed(0)
    log_probs = (3 * torch.randn(n, n_frames, n_symbols, generator=generator)).log_softmax(dim=-1)
    lengths = torch.randint(n_frames * 3 // 4, n_frames + 1, (n,), generator=generator)
    tokens = torch.randint(1, n_symbols, (n, n_labels), generator=generator)
    token_lengths = lengths * n_labels // n_frames
    probabilities = log_probs.double().exp()
    probabilities[torch.arange(n_frames) >= lengths[:, None]] = 0.0

    def ours() -> tuple[float, Tensor]:
        x = log_probs.clone().requires_grad_()
        start = time.perf_counter()
        ctc_loss(x, lengths, tokens, token_lengths).backward()  # type: ignore[no-untyped-call]
        return time.perf_counter() - start, -_gradient(x)

    def torchs(dtype: torch.dtype = torch.float32) -> tuple[float, Tensor]:
        x = log_probs.to(dtype, copy=True).requires_grad_()
        start = time.perf_counter()
        torchs_loss(x.transpose(0, 1), tokens, lengths, token_lengths, reduction="sum").backward()  # type: ignore[no-untyped-call]
        # Its gradient is that of the logits whose log-softmax it takes x for.
        return time.perf_counter() - start, probabilities - _gradient(x)

    exact = torchs(torch.float64)[1]
    rounds = [(ours(), torchs()) for _ in range(n_rounds + 1)]
    seconds, torchs_seconds = (
        min(run[0] for run in runs[1:]) for runs in zip(*rounds, strict=True)
    )
    error, torchs_error = (float((run[1] - exact).abs().max()) for run in rounds[-1])
    return seconds, torchs_seconds, error, torchs_error


def _gradient(x: Tensor) -> Tensor:
    assert x.grad is not None
    return x.grad.double()


if __name__ == "__main__":
    main()
