"""The differentiable neural computer: an LSTM that reads and writes a memory of its own.

Shape letters besides the usual: N slots of the memory, W size of a slot, R read heads.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.nn.cells import LSTMCell

__all__ = [
    "Dnc",
    "DncCell",
    "DncState",
    "Interface",
    "allocate",
    "content_weights",
    "link",
    "read_memory",
    "write_memory",
]


@dataclass(frozen=True)
class DncState:
    """What the cell carries from step to step.

    Attributes:
        memory: (B, N, W).
        usage: 0 free to 1 in use, (B, N).
        links: how much slot i was written right after slot j, (B, N, N).
        precedence: how much each slot was the last one written, (B, N).
        write_weights: (B, N), sum at most 1.
        read_weights: (B, R, N), sums at most 1.
        reads: what was read, (B, R, W).
        hidden, cell: of the controller, (B, H).
    """

    memory: Tensor
    usage: Tensor
    links: Tensor
    precedence: Tensor
    write_weights: Tensor
    read_weights: Tensor
    reads: Tensor
    hidden: Tensor
    cell: Tensor


@dataclass(frozen=True)
class Interface:
    """What the controller tells the memory in one step.

    Attributes:
        read_keys: (B, R, W); read_strengths: >= 1, (B, R).
        write_key: (B, W); write_strength: >= 1, (B,).
        erase: 0 to 1, (B, W); write_vector: (B, W).
        free_gates: 0 to 1, (B, R): what was just read may be overwritten.
        allocation_gate: 0 to 1, (B, 1): write to free memory, else where the key says.
        write_gate: 0 to 1, (B, 1): write at all.
        read_modes: (B, R, 3), sum 1: backwards, by content, forwards.
    """

    read_keys: Tensor
    read_strengths: Tensor
    write_key: Tensor
    write_strength: Tensor
    erase: Tensor
    write_vector: Tensor
    free_gates: Tensor
    allocation_gate: Tensor
    write_gate: Tensor
    read_modes: Tensor

    @staticmethod
    def sizes(word_size: int, n_heads: int) -> list[int]:
        """Return how many numbers each part has, in the order of the attributes."""
        W, R = word_size, n_heads
        return [R * W, R, W, 1, W, W, R, 1, 1, 3 * R]

    @classmethod
    def parse(cls, vector: Tensor, word_size: int, n_heads: int) -> "Interface":
        """Cut the controller's output (B, sum of sizes) up and bring each part to its range."""
        parts = vector.split(cls.sizes(word_size, n_heads), dim=-1)
        return cls(
            read_keys=parts[0].unflatten(-1, (n_heads, word_size)),
            read_strengths=1 + F.softplus(parts[1]),
            write_key=parts[2],
            write_strength=1 + F.softplus(parts[3][:, 0]),
            erase=parts[4].sigmoid(),
            write_vector=parts[5],
            free_gates=parts[6].sigmoid(),
            allocation_gate=parts[7].sigmoid(),
            write_gate=parts[8].sigmoid(),
            read_modes=parts[9].unflatten(-1, (n_heads, 3)).softmax(-1),
        )


def content_weights(memory: Tensor, keys: Tensor, strengths: Tensor) -> Tensor:
    """Look slots up by what they hold.

        C(M, k, beta)_i = softmax over i of (beta cos(M_i, k))

    Args:
        memory: (B, N, W).
        keys: (B, K, W).
        strengths: (B, K).

    Returns:
        (B, K, N), sums 1.
    """
    # The small number keeps the gradient finite at an empty slot.
    memory = memory / (memory.square().sum(-1, keepdim=True) + 1e-6).sqrt()
    keys = keys / (keys.square().sum(-1, keepdim=True) + 1e-6).sqrt()
    similarity = keys @ memory.transpose(1, 2)
    return (similarity * strengths[..., None]).softmax(-1)


def allocate(usage: Tensor) -> Tensor:
    """Look for free slots: the freest gets what it has room for, the next one the rest, ...

        a[phi_j] = (1 - u[phi_j]) prod over i < j of u[phi_i],   phi: slots by rising usage

    Args:
        usage: 0 to 1, (B, N).

    Returns:
        (B, N), sum at most 1.
    """
    rising, order = usage.sort(dim=-1, stable=True)
    before = F.pad(rising.cumprod(-1)[:, :-1], (1, 0), value=1.0)
    weights = (1 - rising) * before
    return torch.zeros_like(usage).scatter(1, order, weights)


def write_memory(memory: Tensor, weights: Tensor, erase: Tensor, vector: Tensor) -> Tensor:
    """Return M (1 - w e') + w v' for M (B, N, W), w (B, N), e and v (B, W)."""
    w = weights[..., None]
    return memory * (1 - w * erase[:, None]) + w * vector[:, None]


def link(links: Tensor, precedence: Tensor, write_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Note in which order slots are written.

        L_ij <- (1 - w_i - w_j) L_ij + w_i p_j,  L_ii = 0;      p <- (1 - sum w) p + w

    Args:
        links: L, (B, N, N).
        precedence: p, (B, N).
        write_weights: w, (B, N).

    Returns:
        The new L and p.
    """
    w = write_weights
    links = (1 - w[:, :, None] - w[:, None, :]) * links + w[:, :, None] * precedence[:, None, :]
    links = links * (1 - torch.eye(w.shape[1], dtype=w.dtype, device=w.device))
    return links, (1 - w.sum(-1, keepdim=True)) * precedence + w


def read_memory(memory: Tensor, weights: Tensor) -> Tensor:
    """Return w M, (B, R, W), for M (B, N, W) and w (B, R, N)."""
    return weights @ memory


class DncCell(nn.Module):
    """One step of the differentiable neural computer.

    It starts as a machine that uses its memory: gates open to write to free slots and to keep what
    was read, keys and strengths sharp, what is written loud.  With the small random numbers of an
    ordinary layer nearly nothing comes back from the memory, and the controller learns without it.

    Args:
        input_size: I.
        hidden_size: units of the controller, an LSTM, H.
        n_slots: N.
        word_size: W.
        n_heads: read heads, R.

    Reference: Graves et al., "Hybrid computing using a neural network with dynamic external
    memory", Nature 538, 2016.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, n_slots: int, word_size: int, n_heads: int
    ) -> None:
        super().__init__()
        self.n_slots, self.word_size, self.n_heads = n_slots, word_size, n_heads
        self.controller = LSTMCell(input_size + n_heads * word_size, hidden_size)
        n_interface = sum(Interface.sizes(word_size, n_heads))
        self.interface = nn.Linear(hidden_size, n_interface)
        self._start_sharp()

    @torch.no_grad()
    def _start_sharp(self) -> None:
        sizes = Interface.sizes(self.word_size, self.n_heads)
        weights, biases = self.interface.weight.split(sizes), self.interface.bias.split(sizes)
        read_key, read_strength, write_key, _, _, vector, free, allocation, write, _ = range(10)
        for part in (read_key, write_key, vector):
            weights[part].mul_(4)
        for part, value in ((read_strength, 3.0), (free, -2.0), (allocation, 2.0), (write, 2.0)):
            biases[part].add_(value)

    def initial_state(self, n_sequences: int) -> DncState:
        """Return an empty memory and a controller at rest."""
        B, N, W, R = n_sequences, self.n_slots, self.word_size, self.n_heads
        zeros = self.interface.weight.new_zeros
        hidden, cell = self.controller.initial_state(B)
        return DncState(
            memory=zeros(B, N, W),
            usage=zeros(B, N),
            links=zeros(B, N, N),
            precedence=zeros(B, N),
            write_weights=zeros(B, N),
            read_weights=zeros(B, R, N),
            reads=zeros(B, R, W),
            hidden=hidden,
            cell=cell,
        )

    def forward(self, x: Tensor, state: DncState) -> DncState:
        """Return the state after input x (B, I)."""
        controller_input = torch.cat([x, state.reads.flatten(1)], dim=-1)
        hidden, cell = self.controller(controller_input, (state.hidden, state.cell))
        told = Interface.parse(self.interface(hidden), self.word_size, self.n_heads)

        # u <- (u + w - u w) prod over heads of (1 - f w_read): written slots are in use, read
        # ones that are set free are not.
        kept = (1 - told.free_gates[..., None] * state.read_weights).prod(dim=1)
        written = state.write_weights
        usage = (state.usage + written - state.usage * written) * kept
        by_content = content_weights(
            state.memory, told.write_key[:, None], told.write_strength[:, None]
        )[:, 0]
        gate = told.allocation_gate
        write_weights = told.write_gate * (gate * allocate(usage) + (1 - gate) * by_content)
        memory = write_memory(state.memory, write_weights, told.erase, told.write_vector)

        links, precedence = link(state.links, state.precedence, write_weights)
        backward = state.read_weights @ links  # (B, R, N): to what was written before
        forward = state.read_weights @ links.transpose(1, 2)
        looked_up = content_weights(memory, told.read_keys, told.read_strengths)
        modes = told.read_modes[..., None].unbind(2)
        read_weights = modes[0] * backward + modes[1] * looked_up + modes[2] * forward
        reads = read_memory(memory, read_weights)
        return DncState(
            memory, usage, links, precedence, write_weights, read_weights, reads, hidden, cell
        )


class Dnc(nn.Module):
    """Reads tokens and says one at each step: y_t = V (h_t, r_t).

    Args:
        n_tokens: of the input.
        n_answers: of the output.
        hidden_size: H.
        n_slots: N.
        word_size: W.
        n_heads: R.
    """

    def __init__(
        self,
        n_tokens: int,
        n_answers: int,
        hidden_size: int,
        *,
        n_slots: int,
        word_size: int,
        n_heads: int,
    ) -> None:
        super().__init__()
        self.n_tokens = n_tokens
        self.cell = DncCell(
            n_tokens, hidden_size, n_slots=n_slots, word_size=word_size, n_heads=n_heads
        )
        self.readout = nn.Linear(hidden_size + n_heads * word_size, n_answers)
        with torch.no_grad():
            self.readout.weight[:, hidden_size:] *= 3

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, T, n_answers) for tokens (B, T)."""
        logits, _ = self.trace(tokens)
        return logits

    def trace(self, tokens: Tensor) -> tuple[Tensor, list[DncState]]:
        """Return logits (B, T, n_answers), and the state after each step."""
        x = F.one_hot(tokens, self.n_tokens).to(self.readout.weight.dtype)
        state = self.cell.initial_state(len(tokens))
        states = []
        for t in range(tokens.shape[1]):
            state = self.cell(x[:, t], state)
            states.append(state)
        outputs = [torch.cat([s.hidden, s.reads.flatten(1)], dim=-1) for s in states]
        logits: Tensor = self.readout(torch.stack(outputs, dim=1))
        return logits, states
