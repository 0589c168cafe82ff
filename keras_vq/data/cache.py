"""Disk cache of decoded image data sets.

A cache entry is a folder with `pixels.npy`, `labels.npy` and `entry.json`. Its name consists of the
data set, the split and a digest of the cache key. Entries are written under a temporary name and
renamed when they are complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_vq._files import UNFINISHED_PREFIX, unfinished_path

# Part of every key: increment it when the same input is decoded to other pixels.
FORMAT = 2
BLOCK_BYTES = 1 << 20
CHECKED_BLOCKS = 512
READ_ATTEMPTS = 20
ABANDONED_AFTER_SECONDS = 24 * 60 * 60


class Entry(NamedTuple):
    """Cache entry of one split."""

    pixels: np.ndarray  # uint8 (n, height, width, channels), memory-mapped
    labels: np.ndarray | None  # int32 (n,)
    class_names: tuple[str, ...] | None
    skipped: tuple[str, ...]  # unreadable files, with the reason


class EntryWriter:
    """Incremental writer of decoded images to one `.npy` file.

    Args:
        folder: Path of the output folder, which must exist.
    """

    def __init__(self, folder: Path) -> None:
        self.class_names: tuple[str, ...] | None = None
        self.skipped: list[str] = []
        self._folder = folder
        self._labels: list[int] = []
        self._count = 0
        self._image_shape: tuple[int, ...] = ()
        self._file: Any = None

    def append(self, pixels: np.ndarray, labels: Any = None) -> None:
        """Appends images and labels.

        Args:
            pixels: Uint8 array of shape `(k, height, width, channels)`.
            labels: Sequence of k integers, or None for a data set without labels.
        """
        if self._file is None:
            self._image_shape = pixels.shape[1:]
            # The file stays open across calls, until `finish` or `close`.
            self._file = open(self._folder / "pixels.npy", "w+b")  # noqa: SIM115
            self._write_header()
        self._file.write(np.ascontiguousarray(pixels, dtype=np.uint8).data)
        self._count += len(pixels)
        if labels is not None:
            self._labels.extend(labels)

    def finish(self, key: dict[str, Any]) -> None:
        """Completes the header of the pixels, and writes the labels and `entry.json`.

        Args:
            key: Dictionary. Cache key, stored in `entry.json`.
        """
        # NumPy pads the header for growth of the first dimension, so the new header has the same
        # size as the old one.
        self._file.seek(0)
        self._write_header()
        self.close()
        files = ["pixels.npy"]
        if self._labels:
            np.save(self._folder / "labels.npy", np.array(self._labels, dtype=np.int32))
            files.append("labels.npy")
        entry = {
            "key": key,
            "class_names": self.class_names,
            "skipped": self.skipped,
            "files": {file: _fingerprint(self._folder / file) for file in files},
        }
        (self._folder / "entry.json").write_text(json.dumps(entry, indent=1), encoding="utf-8")

    def close(self) -> None:
        """Closes the file of the pixels."""
        if self._file is not None:
            self._file.close()

    def _write_header(self) -> None:
        shape = (self._count, *self._image_shape)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Returns the cache folder.

    Args:
        cache_dir: Path of the folder. Defaults to `$KERAS_VQ_CACHE`, then to
            `$XDG_CACHE_HOME/keras_vq` if that variable is set, then to `%LOCALAPPDATA%/keras_vq` on
            Windows, `~/Library/Caches/keras_vq` on macOS and `~/.cache/keras_vq` elsewhere.
    """
    chosen = cache_dir or os.environ.get("KERAS_VQ_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    if not base and sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    if not base and sys.platform == "darwin":
        base = "~/Library/Caches"
    return Path(base or "~/.cache").expanduser() / "keras_vq"


def fetch(
    folder: Path,
    key: dict[str, Any],
    build: Callable[[EntryWriter], None],
    allow_skipped: bool = True,
) -> Entry:
    """Returns the cache entry for `key`, and creates the entry if it is missing or damaged.

    Args:
        folder: Path of the cache folder.
        key: Dictionary of JSON values that determine the content. Its values "name" and "split" are
            part of the name of the entry.
        build: Callable that receives an `EntryWriter` and appends the images to it.
        allow_skipped: Boolean. Whether to use an entry that was created with unreadable files
            skipped. If False, such an entry is rebuilt. Defaults to True.

    Raises:
        ValueError: If the cache folder is not writable.
    """
    key = {"format": FORMAT, **key}
    text = json.dumps(key, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    label = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{Path(key['name']).name}-{key['split']}")[-80:]
    final = folder / f"{label}-{digest}"
    entry = _read(final)
    if entry is None or (entry.skipped and not allow_skipped):
        _build(final, json.loads(text), build)
        entry = _read(final)
        for _ in range(READ_ATTEMPTS):
            if entry is not None:
                break
            # Another process may be replacing the same entry.
            time.sleep(0.05)
            entry = _read(final)
    if entry is None:
        raise ValueError(
            "The decoded images were written to the cache but cannot be read. Check the disk, or "
            f"pass another `cache_dir`. Received: {str(final)!r}"
        )
    return entry


def _build(final: Path, key: dict[str, Any], build: Callable[[EntryWriter], None]) -> None:
    beside = unfinished_path(final)
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise ValueError(
            "The cache folder of decoded images must be writable "
            f"({error.strerror or error}). Pass `cache_dir` or set KERAS_VQ_CACHE to another "
            f"folder. Received: {str(final.parent)!r}"
        ) from error
    _remove_abandoned(final.parent)
    writer = EntryWriter(beside)
    try:
        build(writer)
        writer.finish(key)
        _put_in_place(beside, final)
    finally:
        writer.close()
        shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(beside: Path, final: Path) -> None:
    """Renames `beside` to `final`, unless another process has created a complete entry there."""
    # A folder can't replace a non-empty folder, so a damaged entry is moved away first. If several
    # processes compete for the gap in between, one succeeds; the others wrote the same content.
    for _ in range(READ_ATTEMPTS):
        there = _read(final)
        if there is not None and not there.skipped:
            return
        with contextlib.suppress(FileNotFoundError):
            old = unfinished_path(final)
            os.rename(final, old)
            shutil.rmtree(old, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rename(beside, final)
            return


def _remove_abandoned(folder: Path) -> None:
    """Removes temporary folders of killed processes, after one day."""
    for path in folder.glob(f"{UNFINISHED_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _read(folder: Path) -> Entry | None:
    """Reads the cache entry in `folder`. Returns None if it is missing or damaged."""
    try:
        entry = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
        for file, fingerprint in entry["files"].items():
            if _fingerprint(folder / file) != fingerprint:
                return None
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        labels = None
        if "labels.npy" in entry["files"]:
            labels = np.load(folder / "labels.npy", allow_pickle=False)
        names = entry["class_names"]
        return Entry(
            pixels, labels, None if names is None else tuple(names), tuple(entry["skipped"])
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _fingerprint(path: Path) -> list[int]:
    """Computes the size and CRC-32 of a file.

    The checksum of a file over 512 MiB covers 512 evenly spaced blocks of 1 MiB.
    """
    size = path.stat().st_size
    blocks = -(-size // BLOCK_BYTES)
    step = max(1.0, blocks / CHECKED_BLOCKS)
    checksum = 0
    with open(path, "rb") as file:
        for number in range(min(blocks, CHECKED_BLOCKS)):
            file.seek(int(number * step) * BLOCK_BYTES)
            checksum = zlib.crc32(file.read(BLOCK_BYTES), checksum)
    return [size, checksum]
