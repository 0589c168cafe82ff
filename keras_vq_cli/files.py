"""Atomic writes of the command, and paths as they are shown to people."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

_MOST_BYTES_OF_JSON = 1_000_000


def shown(path: str | os.PathLike[str]) -> str:
    """Returns a path as text for people, characters that are not printable escaped.

    Control, escape and bidirectional characters would change what a terminal shows, and bytes that
    are no UTF-8 can't be printed.
    """
    return printable(os.fspath(path))


def printable(text: str, kept: str = "") -> str:
    """Returns text with every character that is not printable as an escape sequence of Python.

    Args:
        text: Any text, from a file or a person.
        kept: Characters that stay as they are.
    """
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)


def whole_file(path: Path) -> AbstractContextManager[Path]:
    """Returns a context manager that writes a file atomically; see `keras_vq._files`."""
    # Imported here: the backend is chosen before keras_vq imports Keras.
    from keras_vq import _files

    return _files.whole_file(path)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from locking the same folder.

    The system releases the lock however the process ends. Where there are no such locks (Windows,
    some network disks) nothing is locked.

    Raises:
        ValueError: If another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"Another keras-vq train is writing to {folder}: wait for its end, or give another "
                "--out"
            ) from None
        except OSError:  # a disk without locks
            pass
        yield
    finally:
        os.close(descriptor)


def is_left_over(path: Path) -> bool:
    """Returns true for a file that a process left which was killed while writing."""
    # `keras_vq._files.UNFINISHED_PREFIX`, asked for before Keras is imported.
    return path.name.startswith(".keras_vq_unfinished_")


def remove_left_overs(folder: Path) -> None:
    """Removes what killed processes left in a folder of which this process is the only writer."""
    for path in folder.iterdir():
        if is_left_over(path):
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ValueError: If it is not one.
    """
    size = path.stat().st_size
    if size > _MOST_BYTES_OF_JSON:
        raise ValueError(
            f"{path} is longer than any that keras-vq writes. Received: {size:,} bytes"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"{shown(path)} is not whole JSON ({error})") from error
