"""The classic set-up: windows of 40 characters, one LSTM of 128, and the character that follows.

Every window starts from the zero state, so the model knows 40 characters and no more.

Reference: Chollet and others, "Character-level text generation with LSTM", Keras examples, 2015.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from characters import Characters, bits, text_of
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from textgen_config import ClassicConfig
from torch import Tensor, nn
from torch.nn import functional as F

from asr.checkpoint import read_json, read_tensors, write_json, write_tensors
from asr.errors import TextError
from asr.nn.cells import State
from asr.nn.recurrent import RecurrentStack
from asr.optimizers import eager
from asr.search import Sampling, sample
from asr.text import CharTokenizer, load_tokenizer

__all__ = ["TEMPERATURES", "WindowModel", "load_windows", "make_windows", "measure", "train"]

TEMPERATURES = (0.2, 0.5, 1.0, 1.2)
# What token 0, the end that no text of this recipe has, gets as log-probability.
_NEVER = -1e3


class WindowModel(nn.Module):
    """P(next | window) = softmax(A h_40 + b), h_40 the LSTM's output behind one-hot characters.

    As `asr.search` wants it, a state is the characters before: one tensor, (1, B, window - 1).

    Args:
        n_characters: without token 0.
        hidden_size: H.
        window: characters that are read.
    """

    def __init__(self, n_characters: int, hidden_size: int, window: int) -> None:
        super().__init__()
        self.n_characters, self.window = n_characters, window
        self.lstm = RecurrentStack(n_characters, hidden_size, 1)
        self.output = nn.Linear(hidden_size, n_characters)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, windows: Tensor) -> Tensor:
        """Return the logits of characters 1, 2, ... behind windows (B, T) of tokens, (B, V - 1)."""
        x = F.one_hot(windows - 1, self.n_characters).to(self.output.weight.dtype)
        h = self.lstm(x, torch.full((len(x),), x.shape[1]))
        logits: Tensor = self.output(h[:, -1])
        return logits

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence; see `asr.search.Autoregressive`."""
        windows = torch.cat([state[0][0], tokens[:, None]], dim=1)
        log_probs = F.pad(self(windows).log_softmax(-1), (1, 0), value=_NEVER)
        return log_probs, (windows[None, :, 1:],)

    def start(self, prompt: list[int], n_sequences: int) -> tuple[State, list[int]]:
        """Return the state before the last token of a prompt, and that token, n times.

        A prompt that is shorter than the window is repeated to fill it.
        """
        filled = (prompt * (1 + self.window // len(prompt)))[-self.window :]
        history = torch.tensor(filled[:-1]).expand(1, n_sequences, -1)
        return (history,), [filled[-1]] * n_sequences


def make_windows(
    tokens: NDArray[np.uint8], window: int, step: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return windows (N, window) that start every `step` characters, and what follows, (N,).

    Raises:
        TextError: there is no whole window.
    """
    if len(tokens) <= window:
        raise TextError(f"{len(tokens)} characters for windows of {window}: more text is needed")
    views = sliding_window_view(tokens, window + 1)[::step]
    return views[:, :-1], views[:, -1]


@torch.no_grad()
def measure(model: WindowModel, tokens: NDArray[np.uint8], *, step: int, batch: int = 512) -> float:
    """Return the mean -log2 P of the characters behind windows that start every `step`."""
    windows, following = make_windows(tokens, model.window, step)
    total = 0.0
    for first in range(0, len(windows), batch):
        logits = model(_tensor(windows[first : first + batch]))
        targets = _tensor(following[first : first + batch]) - 1
        total += float(F.cross_entropy(logits, targets, reduction="sum"))
    return bits(total / len(windows))


def train(config: ClassicConfig, text: Characters, folder: Path, seed: int) -> None:
    """Train with RMSprop and write samples after every epoch; the same call goes on.

    Writes model.safetensors, tokenizer.json, training.safetensors, metrics.json and samples.txt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model = WindowModel(text.tokenizer.n_tokens - 1, config.hidden_size, config.window)
    # Keras' values.
    optimizer = eager(torch.optim.RMSprop)(
        model.parameters(), lr=config.learning_rate, alpha=0.9, eps=1e-7
    )
    epochs = _resume(model, optimizer, folder)
    text.tokenizer.save(folder)
    windows, following = make_windows(text.training, config.window, config.step)
    for epoch in range(len(epochs), config.epochs):
        total = 0.0
        for rows in _shuffled(len(windows), config.batch_size, (seed, epoch)):
            loss = F.cross_entropy(model(_tensor(windows[rows])), _tensor(following[rows]) - 1)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        held_out = measure(model, text.held_out, step=config.step)
        train_bits = bits(total / len(windows))
        epochs.append({"epoch": epoch + 1, "train_bits": train_bits, "bits": held_out})
        print(
            f"classic: epoch {epoch + 1}: {train_bits:.3f} bits per character, "
            f"{held_out:.3f} held out",
            flush=True,
        )
        with (folder / "samples.txt").open("a", encoding="utf-8") as file:
            file.write(_samples(model, text, config, (seed, epoch)))
        _save(model, optimizer, folder, epochs)


def load_windows(folder: Path) -> tuple[WindowModel, CharTokenizer]:
    """Read a trained model.

    Raises:
        CheckpointError, TextError: a file is missing or damaged.
    """
    tokenizer = load_tokenizer(folder)
    assert isinstance(tokenizer, CharTokenizer)
    tensors = read_tensors(folder / "model.safetensors")
    window = read_json(folder / "metrics.json")["window"]
    model = WindowModel(tokenizer.n_tokens - 1, tensors["output.weight"].shape[1], window)
    model.load_state_dict(tensors)
    return model.eval(), tokenizer


def _tensor(tokens: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(tokens.astype(np.int64))


def _shuffled(n: int, batch_size: int, seed: tuple[int, int]) -> Iterator[NDArray[np.int64]]:
    order = np.random.default_rng(seed).permutation(n)
    for first in range(0, n, batch_size):
        yield order[first : first + batch_size]


def _samples(
    model: WindowModel, text: Characters, config: ClassicConfig, seed: tuple[int, int]
) -> str:
    """Draw text at all temperatures behind a window of the training text, as the example does."""
    random = np.random.default_rng(seed)
    first = int(random.integers(len(text.training) - config.window))
    prompt = text.training[first : first + config.window].tolist()
    symbols = text.tokenizer.symbols
    parts = [f"== epoch {seed[1] + 1}, behind {text_of(prompt, symbols)!r}\n"]
    for temperature in TEMPERATURES:
        state, last = model.start(prompt, 1)
        (drawn,) = sample(
            model,
            state,
            [config.sample_length],
            generator=torch.Generator().manual_seed(int(random.integers(2**31))),
            sampling=Sampling(temperature),
            first=last,
        )
        parts.append(f"-- temperature {temperature}\n{text_of(drawn.tokens, symbols)}\n")
    return "".join(parts)


def _save(
    model: WindowModel,
    optimizer: torch.optim.RMSprop,
    folder: Path,
    epochs: list[dict[str, float]],
) -> None:
    write_tensors(folder / "model.safetensors", model.state_dict())
    averages = {str(i): s["square_avg"] for i, s in optimizer.state_dict()["state"].items()}
    write_tensors(folder / "training.safetensors", averages)
    write_json(folder / "metrics.json", {"window": model.window, "epochs": epochs})


def _resume(
    model: WindowModel, optimizer: torch.optim.RMSprop, folder: Path
) -> list[dict[str, float]]:
    """Take up what the last epoch left, if there is one; returns the figures so far."""
    if not (folder / "metrics.json").exists():
        return []
    model.load_state_dict(read_tensors(folder / "model.safetensors"))
    averages = read_tensors(folder / "training.safetensors")
    state = {
        int(i): {"square_avg": average, "step": torch.tensor(0.0)}
        for i, average in averages.items()
    }
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    epochs: list[dict[str, float]] = read_json(folder / "metrics.json")["epochs"]
    return epochs
