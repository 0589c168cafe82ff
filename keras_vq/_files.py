"""Atomic writes: files are written under a temporary name in the same folder, then renamed."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A server that watches a folder for versions takes names of digits only.
UNFINISHED_PREFIX = ".keras_vq_unfinished_"
# Writers of pictures and arrays tell the format by the suffix. A longer one names no format, and
# would make the temporary name longer than file systems take.
_LONGEST_SUFFIX = 16


def unfinished_path(path: Path) -> Path:
    """Returns a new temporary path beside `path`, short whatever the length of its name."""
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX else ""
    return path.with_name(f"{UNFINISHED_PREFIX}{uuid.uuid4().hex[:16]}{suffix}")


def is_unfinished(path: Path) -> bool:
    """Returns true for a file or folder that a process left which was killed while writing."""
    return path.name.startswith(UNFINISHED_PREFIX)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path to write to, and renames it to `path` after a successful `with`.

    Other processes see the old file or the whole new one. After an error `path` is as it was.

    Args:
        path: Path of the file. Its folder must exist.
    """
    path = Path(path)
    beside = unfinished_path(path)
    try:
        yield beside
        # The content reaches the disk before the name does, or a power cut could leave the name
        # with nothing behind it.
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        # The user knows the file by its own name.
        named = None if error.filename is None else os.fspath(error.filename)
        if error.errno is not None and named in (None, os.fspath(beside)):  # none: a full disk
            error.filename, error.filename2 = os.fspath(path), None
        raise
    finally:
        beside.unlink(missing_ok=True)
