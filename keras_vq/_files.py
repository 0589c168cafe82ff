"""Atomic writes: files are written under a temporary name in the same folder, then renamed."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Has letters, because model servers interpret folders with names of digits as versions.
UNFINISHED_PREFIX = ".keras_vq_unfinished_"
# The suffix is kept because writers of images and arrays infer the format from it, unless it would
# make the temporary name too long for file systems.
_LONGEST_SUFFIX = 16


def unfinished_path(path: Path) -> Path:
    """Returns a new temporary path in the folder of `path`, with a short name."""
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX else ""
    return path.with_name(f"{UNFINISHED_PREFIX}{uuid.uuid4().hex[:16]}{suffix}")


def is_unfinished(path: Path) -> bool:
    """Returns whether a file or folder was left by an interrupted write."""
    return path.name.startswith(UNFINISHED_PREFIX)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path for an atomic write, and renames it to `path` on success.

    Other processes see the old file or the complete new one. After an error `path` is unchanged.

    Args:
        path: String or path. Path of the file. Its folder must exist.
    """
    path = Path(path)
    beside = unfinished_path(path)
    try:
        with errors_naming(path, beside):
            yield beside
            # The content is flushed to disk before the rename, so that a power failure cannot
            # leave an empty file.
            with open(beside, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(beside, path)
    finally:
        if beside.exists():  # to remove a missing file of a read-only disk is an error
            beside.unlink()


@contextmanager
def errors_naming(path: Path, beside: Path) -> Iterator[None]:
    """Makes errors of the file system name `path`, the file of the user, instead of `beside`."""
    try:
        yield
    except OSError as error:
        name = error.filename
        named = beside if name is None or isinstance(name, int) else Path(os.fsdecode(name))
        if error.errno is not None and beside in (named, *named.parents):  # `None` for a full disk
            error.filename = os.fspath(path)
            del error.filename2  # None would be printed
        raise
