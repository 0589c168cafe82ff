"""File access of the command line: atomic writes, locks, JSON and printable paths."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

_MOST_BYTES = 1_000_000


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


def size(count: int) -> str:
    """Returns a number of bytes in decimal units."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"


def whole_file(path: Path) -> AbstractContextManager[Path]:
    """Returns a context manager for an atomic write; see `keras_vq._files.whole_file`."""
    # Imported here because the backend must be selected before keras_vq imports Keras.
    from keras_vq import _files

    return _files.whole_file(path)


@contextmanager
def locked(folder: Path, share: bool = False) -> Iterator[None]:
    """Locks a folder against other processes.

    The operating system releases the lock when the process ends. Where `flock` is not supported
    (Windows, some network file systems), nothing is locked.

    Args:
        folder: Path of the folder.
        share: Boolean. Whether other processes may hold such a lock too. Defaults to `False`.

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
            kind = fcntl.LOCK_SH if share else fcntl.LOCK_EX
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
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


def is_locked(folder: Path) -> bool:
    """Returns true if another process holds the lock of `locked`."""
    try:
        with locked(folder, share=True):
            return False
    except ValueError:
        return True


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
    try:
        return json.loads(_text_of(path))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{shown(path)} is not valid JSON ({error})") from error


def read_yaml(path: Path) -> Any:
    """Reads a YAML file of at most 1 MB.

    Raises:
        ValueError: If the file is longer, or is not valid YAML.
    """
    return parse_yaml(_text_of(path), shown(path))


def parse_yaml(text: str, name: str) -> Any:
    """Parses YAML, with numbers such as 1e-3, and without aliases, which can grow exponentially.

    Args:
        text: String.
        name: String. Name of the source, for error messages.

    Raises:
        ValueError: If the text is not valid.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not supported")
            return super().compose_node(parent, index)

    number = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or "nested too deeply"
        raise ValueError(f"{name} is not valid YAML ({reason[:200]})") from error


def write_yaml(path: Path, value: Any) -> None:
    """Writes a YAML file atomically."""
    import yaml

    write_text(path, yaml.safe_dump(value, sort_keys=False, default_flow_style=None))


def _text_of(path: Path) -> str:
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(
            f"{path} must have at most {_MOST_BYTES:,} bytes. Received: {size:,} bytes"
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{shown(path)} must be UTF-8 text ({error.reason})") from error
