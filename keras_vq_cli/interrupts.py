"""Ctrl-C that is not lost.

Python drops a KeyboardInterrupt that arrives inside a destructor or a callback of the garbage
collector, and JAX has such callbacks. So that it was asked for is noted as well, and looked up
after each batch.
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
    """While this lasts, Ctrl-C raises KeyboardInterrupt, here or in the next `check`."""
    _asked.clear()
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    previous = signal.signal(signal.SIGINT, _note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def check() -> None:
    """Raises KeyboardInterrupt if Ctrl-C was pressed and got lost."""
    if _asked.is_set():
        raise KeyboardInterrupt


def _note(signum: int, frame: FrameType | None) -> None:
    _asked.set()
    raise KeyboardInterrupt
