"""The differentiable neural computer: an LSTM that reads and writes a memory of its own.

Shape letters besides the usual: N slots of the memory, W size of a slot, R read heads.
"""

from dataclasses import dataclass

import torch
from dnc_steps import memory_step
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
    def sizes(word_size: int, n_heads: int) -> dict[str, int]:
        """Return how many numbers each part has, in the order in which they come."""
        W, R = word_size, n_heads
        numbers = {"read_keys": R * W, "write_key": W, "write_vector": W}
        strengths = {"read_strengths": R, "write_strength": 1}
        gates = {"erase": W, "free_gates": R, "allocation_gate": 1, "write_gate": 1}
        return numbers | strengths | gates | {"read_modes": 3 * R}

    @staticmethod
    def activate(vector: Tensor, word_size: int, n_heads: int) -> tuple[Tensor, ...]:
        """Bring the parts of the controller's output (B, sum of sizes) to their ranges.

        Returns:
            Numbers, strengths, gates and modes, each the parts of one range side by side.
        """
        W, R = word_size, n_heads
        numbers, strengths, gates, modes = vector.split(
            [(R + 2) * W, R + 1, W + R + 2, 3 * R], dim=-1
        )
        modes = modes.unflatten(-1, (R, 3)).softmax(-1).flatten(1)
        return numbers, 1 + F.softplus(strengths), gates.sigmoid(), modes

    @classmethod
    def parse(cls, activated: tuple[Tensor, ...], word_size: int, n_heads: int) -> "Interface":
        """Cut up what `activate` returns."""
        W, R = word_size, n_heads
        numbers, strengths, gates, modes = activated
        read_keys, write_key, write_vector = numbers.split([R * W, W, W], dim=-1)
        erase, free, allocation, write = gates.split([W, R, 1, 1], dim=-1)
        return cls(
            read_keys=read_keys.unflatten(-1, (R, W)),
            read_strengths=strengths[:, :R],
            write_key=write_key,
            write_strength=strengths[:, R],
            erase=erase,
            write_vector=write_vector,
            free_gates=free,
            allocation_gate=allocation,
            write_gate=write,
            read_modes=modes.unflatten(-1, (R, 3)),
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

    Attributes:
        compiled: whether a CPU takes `dnc_steps` for the memory, not `reference_step`.

    Reference: Graves et al., "Hybrid computing using a neural network with dynamic external
    memory", Nature 538, 2016.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, n_slots: int, word_size: int, n_heads: int
    ) -> None:
        super().__init__()
        self.n_slots, self.word_size, self.n_heads = n_slots, word_size, n_heads
        self.compiled = True
        self.controller = LSTMCell(input_size + n_heads * word_size, hidden_size)
        n_interface = sum(Interface.sizes(word_size, n_heads).values())
        self.interface = nn.Linear(hidden_size, n_interface)
        self._start_sharp()

    @torch.no_grad()
    def _start_sharp(self) -> None:
        sizes = Interface.sizes(self.word_size, self.n_heads)
        weights, biases = (
            dict(zip(sizes, tensor.split([*sizes.values()]), strict=True))
            for tensor in (self.interface.weight, self.interface.bias)
        )
        for part in ("read_keys", "write_key", "write_vector"):
            weights[part].mul_(4)
        biases["read_strengths"].add_(3)
        biases["free_gates"].sub_(2)
        biases["allocation_gate"].add_(2)
        biases["write_gate"].add_(2)

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
        told = Interface.activate(self.interface(hidden), self.word_size, self.n_heads)
        if self.compiled and x.device.type == "cpu":
            parts = (state.memory, state.usage, state.links, state.precedence)
            step = memory_step((*parts, state.write_weights, state.read_weights), told)
            return DncState(*step, hidden, cell)
        return self.reference_step(state, told, hidden, cell)

    def reference_step(
        self, state: DncState, activated: tuple[Tensor, ...], hidden: Tensor, cell: Tensor
    ) -> DncState:
        """Return the state after the controller has said what is to be done.

        Args:
            state: before the step.
            activated: see `Interface.activate`.
            hidden, cell: the controller's state after the step.
        """
        told = Interface.parse(activated, self.word_size, self.n_heads)

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
