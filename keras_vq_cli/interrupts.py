"""Reliable handling of Ctrl-C (SIGINT).

Python discards a KeyboardInterrupt that is raised inside a destructor or a callback of the garbage
collector, and JAX registers such callbacks. The signal handler therefore also sets a flag, which is
checked after each batch.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_asked = threading.Event()


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Makes Ctrl-C raise KeyboardInterrupt, immediately or in the next call of `check`."""
    _asked.clear()
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can set signal handlers
        return
    previous = signal.signal(signal.SIGINT, _note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def check() -> None:
    """Raises KeyboardInterrupt if Ctrl-C was pressed since `noted` was entered."""
    if _asked.is_set():
        raise KeyboardInterrupt


def _note(signum: int, frame: FrameType | None) -> None:
    _asked.set()
    raise KeyboardInterrupt
