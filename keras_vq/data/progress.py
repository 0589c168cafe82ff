"""Progress bar for long operations."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

SECONDS_BEFORE_SHOWN = 2.0


class ProgressBar:
    """Progress bar on standard error, shown after two seconds.

    Args:
        description: String. Label of the bar.
        total: Integer. Number of steps, or None if it is unknown.
        show: Boolean. Whether to show the bar at all. Defaults to True.
    """

    def __init__(self, description: str, total: int | None, show: bool = True) -> None:
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
        """Advances the bar by `steps`."""
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
