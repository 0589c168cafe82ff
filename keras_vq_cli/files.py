"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_MOST_BYTES_OF_JSON = 1_000_000


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, renamed to `path` at the end of a `with` that succeeds."""
    beside = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.tmp{path.suffix}")
    try:
        yield beside
        # The content reaches the disk before the name does, or a power cut could leave the name
        # with nothing behind it.
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def is_left_over(path: Path) -> bool:
    """Whether this is what a process that was killed while writing left behind."""
    return path.name.startswith(".") and ".tmp" in path.name


def remove_left_overs(folder: Path) -> None:
    """Removes what killed processes left in a folder."""
    for path in folder.iterdir():
        if is_left_over(path):
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file."""
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file."""
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
        raise ValueError(f"{path} is not whole JSON ({error})") from error
