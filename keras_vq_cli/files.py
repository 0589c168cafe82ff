"""File access of the command line: atomic writes, locks, JSON and printable paths."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

_MOST_BYTES_OF_JSON = 1_000_000


def shown(path: str | os.PathLike[str]) -> str:
    """Returns a path as printable text, with non-printable characters escaped.

    Control, escape and bidirectional characters would alter the terminal output, and bytes that are
    not UTF-8 can't be printed.
    """
    return printable(os.fspath(path))


def printable(text: str, kept: str = "") -> str:
    """Replaces non-printable characters with Python escape sequences.

    Args:
        text: String. Untrusted text.
        kept: String. Characters to keep. Defaults to none.
    """
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)


def whole_file(path: Path) -> AbstractContextManager[Path]:
    """Returns a context manager for an atomic write; see `keras_vq._files.whole_file`."""
    # Imported here because the backend must be selected before keras_vq imports Keras.
    from keras_vq import _files

    return _files.whole_file(path)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks a folder against other processes.

    The operating system releases the lock when the process ends. Where `flock` is not supported
    (Windows, some network file systems), nothing is locked.

    Raises:
        ValueError: If another process holds the lock.
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
                f"Another keras-vq train process is writing to {folder}. Wait until it ends, or "
                "choose another --out."
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def is_left_over(path: Path) -> bool:
    """Returns true for a partial file left behind by a killed process."""
    # Equal to `keras_vq._files.UNFINISHED_PREFIX`; this module does not import Keras.
    return path.name.startswith(".keras_vq_unfinished_")


def remove_left_overs(folder: Path) -> None:
    """Removes partial files from a folder to which no other process writes."""
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
    """Reads a JSON file of at most 1 MB.

    Raises:
        ValueError: If the file is longer, or is not valid JSON.
    """
    size = path.stat().st_size
    if size > _MOST_BYTES_OF_JSON:
        raise ValueError(
            f"{path} must have at most {_MOST_BYTES_OF_JSON:,} bytes. Received: {size:,} bytes"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{shown(path)} is not valid JSON ({error})") from error
