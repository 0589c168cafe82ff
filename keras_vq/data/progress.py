"""A progress bar for work that turns out to take long."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

SECONDS_BEFORE_SHOWN = 2.0


class ProgressBar:
    """A bar on the standard error stream that appears once the work has taken two seconds.

    Args:
        description: what is being done.
        total: how many steps there are.
        show: False never shows it.
    """

    def __init__(self, description: str, total: int, show: bool = True) -> None:
        self.description = description
        self.total = total
        self.show = show
        self._done = 0
        self._task: Any = None
        self._bar: Any = None

    def __enter__(self) -> ProgressBar:
        self._start = time.monotonic()
        return self

    def advance(self, steps: int) -> None:
        """Counts `steps` more as done."""
        self._done += steps
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
        elif self.show and time.monotonic() - self._start >= SECONDS_BEFORE_SHOWN:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True))
            self._task = self._bar.add_task(
                self.description, total=self.total, completed=self._done
            )
            self._bar.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
