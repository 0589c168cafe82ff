"""Decoded image sets on disk, so that only the first load of a set decodes it.

An entry is a folder with `pixels.npy`, `labels.npy` and `entry.json`, named after what it holds
and a digest of its key. It is written under another name and renamed once it is whole.
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

# Part of every key: raise it when the same input would be decoded differently.
FORMAT = 2
BLOCK_BYTES = 1 << 20
CHECKED_BLOCKS = 512
READ_ATTEMPTS = 20
ABANDONED_AFTER_SECONDS = 24 * 60 * 60


class Entry(NamedTuple):
    """What the cache holds of one split."""

    pixels: np.ndarray  # uint8 (n, height, width, channels), read from disk as needed
    labels: np.ndarray | None  # int32 (n,)
    class_names: tuple[str, ...] | None
    skipped: tuple[str, ...]  # files that could not be read, and why


class EntryWriter:
    """Takes decoded images a few at a time and writes them as one `.npy` file.

    Args:
        folder: existing folder that gets the files.
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
        """Adds images, uint8 (k, height, width, channels), and their k labels if there are any."""
        if self._file is None:
            self._image_shape = pixels.shape[1:]
            # Open until `finish` or `close`, over many calls of this method.
            self._file = open(self._folder / "pixels.npy", "w+b")  # noqa: SIM115
            self._write_header()
        self._file.write(np.ascontiguousarray(pixels, dtype=np.uint8).data)
        self._count += len(pixels)
        if labels is not None:
            self._labels.extend(labels)

    def finish(self, key: dict[str, Any]) -> None:
        """Completes the files."""
        # NumPy leaves room in the header for the first length to grow, so that the true one
        # fits where 0 was written.
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
        """Closes the file being written."""
        if self._file is not None:
            self._file.close()

    def _write_header(self) -> None:
        shape = (self._count, *self._image_shape)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where decoded sets lie: `cache_dir`, else $KERAS_VQ_CACHE, else the platform's own place.

    That place is $XDG_CACHE_HOME/keras_vq where the variable is set, %LOCALAPPDATA%/keras_vq on
    Windows, ~/Library/Caches/keras_vq on macOS and ~/.cache/keras_vq elsewhere.
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
    """The entry for `key`: from the cache, or built and put there.

    Args:
        folder: the cache folder.
        key: what decides the content, as JSON values; "name" and "split" also name the entry.
        build: gives the images to the writer that it is called with.
        allow_skipped: False builds anew where the entry in the cache leaves out broken files.

    Raises:
        ValueError: if the cache folder can't be written to.
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
            # Another writer is replacing the same entry at this moment.
            time.sleep(0.05)
            entry = _read(final)
    if entry is None:
        raise ValueError(
            "The decoded images were written but can't be read back; check the disk, or pass "
            f"another cache_dir. Received: {str(final)!r}"
        )
    return entry


def _build(final: Path, key: dict[str, Any], build: Callable[[EntryWriter], None]) -> None:
    beside = unfinished_path(final)
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise ValueError(
            "Decoded images are kept in a cache folder, which can't be written to "
            f"({error.strerror or error}). Pass cache_dir= or set KERAS_VQ_CACHE to a folder "
            f"that can. Received: {str(final.parent)!r}"
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
    """Renames `beside` to `final`, unless another writer has put a whole entry there."""
    # A folder can't be renamed onto another one, so what is damaged is moved away first. Where
    # several writers race for the gap in between, one wins; the others wrote the same.
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
    """Removes what writers that were killed left behind long ago."""
    for path in folder.glob(f"{UNFINISHED_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _read(folder: Path) -> Entry | None:
    """The entry in `folder`, or None where there is none or a file of it is damaged."""
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
    """Size and checksum of a file; of one over 512 MiB, 512 blocks spread evenly are summed."""
    size = path.stat().st_size
    blocks = -(-size // BLOCK_BYTES)
    step = max(1.0, blocks / CHECKED_BLOCKS)
    checksum = 0
    with open(path, "rb") as file:
        for number in range(min(blocks, CHECKED_BLOCKS)):
            file.seek(int(number * step) * BLOCK_BYTES)
            checksum = zlib.crc32(file.read(BLOCK_BYTES), checksum)
    return [size, checksum]
