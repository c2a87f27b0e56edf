"""One direction of an LSTM layer, forwards and backwards, as trained here and by torch.

    python tools/bench_lstm.py [--rounds N]

Both take turns in one run on one thread, bfloat16; the best time of each counts.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from asr.nn.cells import CellWeights
from asr.nn.lstm_training import train_lstm, trains_faster

# (steps, sequences, inputs, units)
SHAPES = [
    (334, 12, 256, 128),
    (334, 12, 512, 256),
    (334, 32, 512, 256),
    (334, 8, 512, 320),
    (334, 12, 1024, 512),
    (35, 64, 512, 512),
]


def main() -> None:
    """Print a line for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8, help="times that each runs (default: 8)")
    n_rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print("steps  sequences  inputs  units  ours/ms  torch/ms  torch/ours  used in training")
    for shape in SHAPES:
        ours, torchs, is_used = measure(shape, n_rounds)
        sizes = "{:5d}  {:9d}  {:6d}  {:5d}".format(*shape)
        times = f"{1e3 * ours:7.1f}  {1e3 * torchs:8.1f}  {torchs / ours:10.2f}"
        print(f"{sizes}  {times}  {'yes' if is_used else 'no'}", flush=True)


def measure(shape: tuple[int, int, int, int], n_rounds: int) -> tuple[float, float, bool]:
    """Return the seconds of ours and of torch's, and whether a layer in training takes ours."""
    n_steps, n_sequences, n_inputs, n_units = shape
    torch.manual_seed(0)
    weights = [p.detach().bfloat16() for p in nn.LSTM(n_inputs, n_units).parameters()]
    x = torch.randn(n_steps, n_sequences, n_inputs).bfloat16()
    slope = torch.randn(n_steps, n_sequences, n_units).bfloat16()
    zero = torch.zeros(n_sequences, n_units).bfloat16()
    tensors = [tensor.requires_grad_() for tensor in (x, *weights)]

    def ours() -> Tensor:
        return train_lstm(x, zero, zero, CellWeights(*weights))[0]

    def torchs() -> Tensor:
        states = zero[None], zero[None]
        y: Tensor = torch.lstm(x, states, weights, True, 1, 0.0, True, False, False)[0]
        return y

    def seconds(run: Callable[[], Tensor]) -> float:
        start = time.perf_counter()
        torch.autograd.grad(run(), tensors, slope)
        return time.perf_counter() - start

    rounds = [(seconds(ours), seconds(torchs)) for _ in range(n_rounds + 1)]
    best_ours, best_torchs = (min(times[1:]) for times in zip(*rounds, strict=True))
    return best_ours, best_torchs, trains_faster(x, [CellWeights(*weights)])


if __name__ == "__main__":
    main()
