"""Reliable handling of Ctrl-C (SIGINT).

Python discards a KeyboardInterrupt that is raised inside a destructor or a callback of the garbage
collector, and JAX registers such callbacks. The signal handler therefore also sets a flag, which is
checked after each batch.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_asked = threading.Event()
_before: Any = None


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Makes Ctrl-C raise KeyboardInterrupt, immediately or in the next call of `check`."""
    _asked.clear()
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can set signal handlers
        return
    global _before
    _before = signal.signal(signal.SIGINT, _note)
    print_dropped = sys.unraisablehook

    def print_other(dropped: Any) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            print_dropped(dropped)

    sys.unraisablehook = print_other
    try:
        yield
    finally:
        _asked.clear()
        sys.unraisablehook = print_dropped
        signal.signal(signal.SIGINT, _before)


@contextlib.contextmanager
def suspended() -> Iterator[None]:
    """Gives Ctrl-C back what it did before `noted`: it ends the process of a command.

    For imports of packages with native code, some of which crash when an exception is raised there.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not _note
    ):
        yield
        return
    signal.signal(signal.SIGINT, _before)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _note)


def check() -> None:
    """Raises KeyboardInterrupt if Ctrl-C was pressed since `noted` was entered."""
    if _asked.is_set():
        raise KeyboardInterrupt


def _note(signum: int, frame: FrameType | None) -> None:
    _asked.set()
    raise KeyboardInterrupt
