"""What a training run shows: a progress bar on a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from asr.training_log import Evaluation

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["TrainingDisplay"]

_SECONDS_BETWEEN_LINES = 30


class TrainingDisplay:
    """A progress bar on a terminal, a line every half minute elsewhere.

    It is the `reporter` of `asr.fit.fit`, and shows the bar while its `with` block runs.

    Args:
        describe: puts the figures of an update into words; see `asr.training_log.Reporter`.
        console: where to write; standard error by default.
    """

    def __init__(
        self, describe: Callable[[Mapping[str, float]], str], console: "Console | None" = None
    ) -> None:
        # Here, so that a command's help need not wait for it.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = console or Console(stderr=True)
        self._describe = describe
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._progress.add_task("preparing", total=None)
        self._last_line = 0.0

    def __enter__(self) -> "TrainingDisplay":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def progress(self, step: int, n_steps: int, values: Mapping[str, float]) -> None:
        """Show the figures after an update."""
        text = f"epoch {values['epoch']:.2f}  {self._describe(values)}"
        self._progress.update(self._task, completed=step, total=n_steps, description=text)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            self.console.print(f"update {step}/{n_steps}  {text}", highlight=False)

    def evaluation(self, evaluation: Evaluation) -> None:
        """Print a line about an evaluation."""
        self.console.print(
            f"epoch {evaluation.epoch:.2f}  update {evaluation.step}  held out: "
            + "  ".join(f"{name} {value:.4f}" for name, value in evaluation.metrics.items())
            + ("  (best)" if evaluation.is_best else ""),
            highlight=False,
        )
