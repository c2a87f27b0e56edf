"""The bar that commands show while they work through audio."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Self, TextIO

from asr.errors import AsrError

__all__ = ["ProgressBar"]


class ProgressBar:
    """A bar on standard error, on a terminal only.

    Args:
        n_items: recordings or utterances.
        seconds: gives the length of all audio where it is known; only called for a terminal.
    """

    def __init__(self, n_items: int, seconds: Callable[[], float | None]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._n_items, self._n_done = n_items, 0
        self._seconds, self._start = 0.0, time.perf_counter()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        total = seconds() if console.is_terminal else None
        self._task = self._progress.add_task("reading", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, seconds: float) -> None:
        """Show that so much more audio is done."""
        self._seconds += seconds
        rate = self._seconds / max(1e-6, time.perf_counter() - self._start)
        self._progress.update(
            self._task,
            completed=self._seconds,
            description=f"{self._n_done}/{self._n_items}  {self._seconds / 60:.1f} min  "
            f"{rate:.0f} x real time",
        )

    def count(self) -> None:
        """Count a recording as done."""
        self._n_done += 1

    def write_error(self, error: AsrError) -> None:
        """Write what is wrong with a recording to standard error, in one line."""
        self._write(f"asr: error: {' '.join(str(error).splitlines())}\n", sys.stderr)

    def write(self, text: str) -> None:
        """Write to standard output."""
        if text:
            self._write(text, sys.stdout)

    def _write(self, text: str, stream: TextIO) -> None:
        with self._hidden() if stream.isatty() else nullcontext():
            stream.write(text)
            stream.flush()

    @contextmanager
    def _hidden(self) -> Iterator[None]:
        self._progress.stop()
        yield
        self._progress.start()
