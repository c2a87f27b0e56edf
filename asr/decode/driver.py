"""Runs the compiled search over utterances: work space, threads, the neural model's turns."""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from asr.decode.beam_arrays import (
    Beam,
    Limits,
    Records,
    grow_prefixes,
    make_beam,
    make_candidates,
    make_prefixes,
)
from asr.decode.engine import DONE, MORE_PREFIXES, need_all, search, start
from asr.decode.fusion import TOKENS, Fusion
from asr.decode.nbest import NBest, Wanted, read_nbest
from asr.decode.neural_fusion import Asking, NeuralFusion
from lm.backoff import Floats

__all__ = ["Driver"]

_logger = logging.getLogger(__name__)

# Compiled code from the cache is there sooner.
_SECONDS_BEFORE_NOTICE = 3.0

_FIRST_PREFIXES = 1 << 14

# Utterances whose prefixes a neural model reads together.
_MAX_FUSED = 16


class _Workspace:
    """The arrays that one utterance at a time is decoded in."""

    def __init__(self, fusion: Fusion, width: int) -> None:
        neural = fusion.neural_units == TOKENS
        self.beam: Beam = make_beam(width, len(fusion.tokens), neural=neural)
        self.prefixes: Records = make_prefixes(_FIRST_PREFIXES + width)
        self.candidates: Records = make_candidates(width)

    def search(self, fusion: Fusion, limits: Limits, frames: Floats) -> int:
        """Go on until the end, or until the neural model is needed."""
        while True:
            why = search(fusion, self.prefixes, self.beam, self.candidates, limits, frames)
            if why != MORE_PREFIXES:
                return why
            self.prefixes = grow_prefixes(self.prefixes)


class Driver:
    """Searches utterances with the same models, weights and limits.

    Args:
        fusion: What scores.
        limits: What is left out to be fast.
        neural: A neural model, where `fusion` weighs one.
        wanted: Hypotheses to make of merged prefixes.
    """

    def __init__(
        self, fusion: Fusion, limits: Limits, neural: NeuralFusion | None, wanted: Wanted
    ) -> None:
        self._fusion, self._limits, self._neural = fusion, limits, neural
        self._wanted = wanted
        self._workspaces: list[_Workspace] = []

    def run(self, utterances: Sequence[Floats]) -> list[NBest]:
        """Search the best token sequences of utterances, each (T, V), in parallel threads."""
        n_threads = max(1, min(len(utterances), os.cpu_count() or 1))
        with _notice_of_compilation():
            if self._neural is None and n_threads == 1:
                return [self._search(frames) for frames in utterances]
            with ThreadPoolExecutor(n_threads, "beam") as executor:
                if self._neural is None:
                    return list(executor.map(self._search, utterances))
                return self._search_together(utterances, executor, n_threads)

    def _search(self, frames: Floats) -> NBest:
        space = self._begin()
        space.search(self._fusion, self._limits, frames)
        return self._end(space)

    def _search_together(
        self, utterances: Sequence[Floats], executor: ThreadPoolExecutor, n_threads: int
    ) -> list[NBest]:
        """Several utterances at once; all wait for the neural model, which answers all."""
        assert self._neural is not None
        n_beams = min(len(utterances), _MAX_FUSED)
        states = self._neural.states(self._fusion, n_beams, self._limits.width)
        waiting = iter(range(len(utterances)))
        running: dict[int, tuple[int, _Workspace]] = {}  # by the number of the beam
        found: dict[int, NBest] = {}
        n_steps = [0] * len(utterances)

        def go_on(numbers: Sequence[int]) -> list[int]:
            """Which of some beams have read all frames; the others need the neural model."""
            ended = []
            for number in numbers:
                index, space = running[number]
                if space.search(self._fusion, self._limits, utterances[index]) == DONE:
                    need_all(self._fusion, space.prefixes, space.beam)
                    ended.append(number)
            return ended

        while len(found) < len(utterances):
            for number in set(range(n_beams)) - running.keys():
                if (index := next(waiting, None)) is not None:
                    running[number] = index, self._begin()
                    states.start(number)
            shares = [list(running)[thread::n_threads] for thread in range(n_threads)]
            ended = [number for share in executor.map(go_on, shares) for number in share]
            asking = [
                Asking(number, space.prefixes, space.beam, number in ended)
                for number, (_, space) in running.items()
            ]
            for (index, _), n in zip(running.values(), states.answer(asking), strict=True):
                n_steps[index] += n
            for number in ended:
                index, space = running.pop(number)
                found[index] = self._end(space)._replace(n_neural_steps=n_steps[index])
        return [found[index] for index in range(len(utterances))]

    def _begin(self) -> _Workspace:
        try:
            space = self._workspaces.pop()
        except IndexError:
            space = _Workspace(self._fusion, self._limits.width)
        start(self._fusion, space.prefixes, space.beam)
        return space

    def _end(self, space: _Workspace) -> NBest:
        found = read_nbest(self._fusion, space.prefixes, space.beam, self._wanted)
        self._workspaces.append(space)
        return found


@contextmanager
def _notice_of_compilation() -> Iterator[None]:
    """Say why the first utterance takes long, where the search has to be compiled first."""
    if search.signatures:  # type: ignore[attr-defined]
        yield
        return
    timer = threading.Timer(
        _SECONDS_BEFORE_NOTICE,
        _logger.warning,
        ["compiling the beam search; this happens once and takes some 15 seconds"],
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
