"""Encoding of data sets of any size on one machine."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vq import _validation
from keras_vq._files import is_unfinished
from keras_vq._fingerprint import fingerprint
from keras_vq._inputs import SOURCES, batches_of, is_data_set, to_numpy
from keras_vq.data.image_dataset import ImageDataset
from keras_vq.data.progress import ProgressBar
from keras_vq.encoding import _shards
from keras_vq.encoding.code_dataset import CodeDataset
from keras_vq.models.describing import describe

_BLOCK_BYTES = 2**26
_BLOCK_BATCHES = 100  # longer predictions of Keras show a bar of their own
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class _Block(NamedTuple):
    """Successive rows of a source."""

    inputs: np.ndarray
    labels: np.ndarray | None
    shard: int
    digest: bytes


def encode_dataset(
    source: Any,
    model: Any,
    directory: str | os.PathLike[str],
    *,
    name: str | None = None,
    batch_size: int = 128,
    rows_per_shard: int = 100_000,
    progress: bool = True,
) -> CodeDataset:
    """Encodes a data set to codes in Parquet files, of which none is ever written in part.

    A shard has the columns `id` (`"NAME:ROW"`), `codes` (a list of fixed size of the smallest
    unsigned type, in row-major order) and, if the source has labels, `label` (int32). Its schema
    metadata and `manifest.json` contain the class and the fingerprint of the model, the shape of
    the codes and the codebook sizes. The manifest also lists the unreadable images of an
    `ImageDataset`, which have no row.

    A repeated call reads the source again, compares its rows with the digest in each shard, and
    encodes what is missing, e.g. after an interruption, with the same files as without it. A call
    with another source and name adds shards and changes none. Memory holds the codes of one shard
    and about 200 MB of inputs, whatever the size of the source. Run one call per folder at a time.

    Args:
        source: `ImageDataset` of `keras_vq.data.load`, array of shape `(n, ...)` such as a
            memory-mapped `.npy` file, or data set of batches: inputs or (inputs, labels). A
            repeated call needs the same rows in the same order.
        model: A built model with one code grid, such as a `VQVAE`.
        directory: String or path. Output folder, created if missing.
        name: String of letters, digits, `_`, `-` and `.`. Name of the source, the beginning of its
            file names. Defaults to the name and split of an `ImageDataset`; required for others.
        batch_size: Integer. Batch size of the model. Defaults to 128.
        rows_per_shard: Integer. Number of rows of each shard except the last. Defaults to 100,000.
        progress: Boolean. Whether to show a progress bar for work of more than two seconds.
            Defaults to `True`.

    Returns:
        `CodeDataset` of the codes of this source.

    Raises:
        ValueError: If the model has no codes or more than one code grid, the source is empty or
            has changed since the last call, an input has another shape or contains NaN, or the
            folder contains codes of another model.

    Example:
        >>> import tempfile, keras_vq
        >>> model = keras_vq.VQVAE.from_preset("vqvae_mnist")
        >>> digits = keras_vq.data.load("digits", image_size=(28, 28))
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     codes = keras_vq.encoding.encode_dataset(digits, model, directory)
        ...     codes.rows, codes.code_shape, next(iter(codes))[0].shape
        (1437, (7, 7), (128, 7, 7))
    """
    name = _checked_name(name, source)
    batch_size = _validation.check_positive_integer("batch_size", batch_size)
    rows_per_shard = _validation.check_positive_integer("rows_per_shard", rows_per_shard)
    facts = _model_facts(model)
    _check_source(source)
    rows = len(source) if _has_rows(source) else None
    folder = Path(directory)
    manifest = _opened(folder, facts, name, rows_per_shard)
    entry: dict[str, Any] = {
        "rows_per_shard": rows_per_shard,
        "skipped": list(getattr(source, "skipped", ())),
        "shards": [],
        "rows": 0,
        "is_complete": False,
    }
    manifest["sources"][name] = entry
    with (
        ProgressBar(f"Encoding {name}", rows, progress) as bar,
        ThreadPoolExecutor(1) as reader,
    ):
        for blocks in _shards_of(_read_ahead(source, batch_size, rows_per_shard, reader)):
            _encode_shard(blocks, model, folder, name, manifest, batch_size, bar)
    if not entry["rows"]:
        raise ValueError(f"`source` must have at least one row. Received: {source!r:.100}")
    beyond = folder / _file_name(name, len(entry["shards"]))
    if beyond.exists():
        raise _changed(name, beyond)
    entry["is_complete"] = True
    if manifest != _shards.read_manifest(folder):
        _shards.write_manifest(folder, manifest)
    return CodeDataset(folder, sources=[name], batch_size=batch_size)


def _encode_shard(
    blocks: Iterator[_Block],
    model: Any,
    folder: Path,
    name: str,
    manifest: dict[str, Any],
    batch_size: int,
    bar: ProgressBar,
) -> None:
    """Encodes the blocks of a shard and writes it, or checks the inputs of an existing shard."""
    entry = manifest["sources"][name]
    path = folder / _file_name(name, len(entry["shards"]))
    exists = path.exists()
    dtype = _shards.codes_type(manifest["model"]["codebook_sizes"])
    digest = hashlib.sha256()
    codes, labels, rows = [], [], 0
    for block in blocks:
        digest.update(block.digest)
        rows += len(block.inputs)
        if not exists:
            codes.append(model.encode(block.inputs, batch_size=batch_size).astype(dtype))
            labels += [] if block.labels is None else [block.labels]
        bar.advance(len(block.inputs))
    metadata = {
        "model": manifest["model"],
        "source": name,
        "first_row": entry["rows"],
        "rows_per_shard": entry["rows_per_shard"],
        "digest": digest.hexdigest()[:32],
    }
    if exists and _shards.read_metadata(path)[0] != metadata:
        raise _changed(name, path)
    if not exists:
        both = np.concatenate(labels) if labels else None
        _shards.write_shard(path, np.concatenate(codes), both, metadata)
    entry["shards"].append({"file": path.name, "rows": rows})
    entry["rows"] += rows
    if not exists:
        _shards.write_manifest(folder, manifest)


def _changed(name: str, path: Path) -> ValueError:
    return ValueError(
        f"The rows of the source {name!r}, their labels and the model must be those of the first "
        "call, because written shards are not changed. Pass another `name`, or encode to another "
        f"folder. Received: rows that differ from those of {str(path)!r}"
    )


def _opened(folder: Path, facts: dict[str, Any], name: str, rows_per_shard: int) -> Any:
    """Returns the manifest of the folder, after removing files of interrupted calls.

    Raises:
        ValueError: If the folder contains codes of another model, or of this source in shards of
            another size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if is_unfinished(path):
            path.unlink(missing_ok=True)
    manifest = _shards.read_manifest(folder) or {
        "format": _shards.FORMAT,
        "model": facts,
        "sources": {},
    }
    if manifest["model"] != facts:
        raise ValueError(
            "The codes in a folder must be of one model. Encode to another folder. Received: a "
            f"{facts['class']} with the fingerprint {facts['fingerprint']}, and a folder with "
            f"codes of a {manifest['model'].get('class')} with the fingerprint "
            f"{manifest['model'].get('fingerprint')}: {str(folder)!r}"
        )
    known = manifest["sources"].get(name, {}).get("rows_per_shard", rows_per_shard)
    if known != rows_per_shard:
        raise ValueError(
            f"`rows_per_shard` of {name!r} must be that of the first call, {known}. Pass another "
            f"`name` for other shards. Received: {rows_per_shard}"
        )
    return manifest


def _model_facts(model: Any) -> dict[str, Any]:
    code_shape = getattr(model, "code_shape", None)
    if not isinstance(code_shape, tuple) or hasattr(code_shape, "_asdict") or None in code_shape:
        raise ValueError(
            "`model` must be a built model with one code grid of fixed shape, such as a VQVAE. "
            f"Received: {type(model).__name__} with code_shape={code_shape!r}"
        )
    about = describe(model)
    kept = ("class", "input_shape", "code_shape", "codebook_sizes")
    return {
        **{key: about[key] for key in kept},
        "fingerprint": fingerprint(model).hex(),
        "preprocessing": about["provenance"],
    }


def _checked_name(name: str | None, source: Any) -> str:
    if name is None and isinstance(source, ImageDataset):
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{source.name}-{source.split}").strip("-.")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            "`name` must be a string of at most 100 letters, digits, '_', '-' and '.', such as "
            f"'train'. Received: {name!r}"
        )
    return name


def _file_name(name: str, number: int) -> str:
    return f"{name}-{number:05}.parquet"


def _has_rows(source: Any) -> bool:
    """Returns whether the rows of a source can be read in any order."""
    return isinstance(source, ImageDataset) or not is_data_set(source)


def _check_source(source: Any) -> None:
    """Raises ValueError if a source is neither an array nor a data set."""
    has_shape = isinstance(source, ImageDataset) or len(getattr(source, "shape", ()))
    if _has_rows(source) and not has_shape:
        raise ValueError(f"`source` must be {SOURCES}. Received: {type(source).__name__}")


def _read_ahead(
    source: Any, batch_size: int, rows_per_shard: int, reader: ThreadPoolExecutor
) -> Iterator[_Block]:
    """Yields the blocks of a source; a thread reads the next block while the model encodes."""
    read = _rows_of if _has_rows(source) else _rebatched
    blocks = read(source, batch_size, rows_per_shard)
    waiting = reader.submit(next, blocks, None)
    while (block := waiting.result()) is not None:
        waiting = reader.submit(next, blocks, None)
        yield block


def _shards_of(blocks: Iterator[_Block]) -> Iterator[Iterator[_Block]]:
    """Groups the blocks of each shard."""
    for _, group in itertools.groupby(blocks, key=lambda block: block.shard):
        yield group


def _block(inputs: np.ndarray, labels: np.ndarray | None, shard: int) -> _Block:
    digest = hashlib.sha256(f"{inputs.dtype}{inputs.shape}".encode())
    digest.update(np.ascontiguousarray(inputs).data)
    digest.update(b"" if labels is None else np.ascontiguousarray(labels).data)
    return _Block(inputs, labels, shard, digest.digest())


def _rows_of(source: Any, batch_size: int, rows_per_shard: int) -> Iterator[_Block]:
    """Yields the rows of an array or `ImageDataset`, in blocks that end with each shard."""
    is_images = isinstance(source, ImageDataset)
    values = source.pixels if is_images else source
    most = _block_rows(values.shape[1:], batch_size)
    start = 0
    while start < len(source):
        shard, row = divmod(start, rows_per_shard)
        stop = min(start + min(rows_per_shard - row, most), len(source))
        if is_images:
            inputs = np.divide(values[start:stop], 255, dtype="float32")
            labels = None if source.labels is None else source.labels[start:stop]
        else:
            inputs, labels = to_numpy(values[start:stop]), None
        yield _block(inputs, labels, shard)
        start = stop


def _rebatched(source: Any, batch_size: int, rows_per_shard: int) -> Iterator[_Block]:
    """Yields the rows of a data set of batches, in blocks that end with each shard."""
    inputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    done = held = 0

    def collected() -> _Block:
        if labels and len(labels) != len(inputs):
            raise ValueError(
                "All batches of `source` must have labels, or none. Received: both kinds"
            )
        both = np.concatenate(labels) if labels else None
        return _block(np.concatenate(inputs), both, done // rows_per_shard)

    for batch in batches_of(source):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        x, y = to_numpy(x), None if y is None else to_numpy(y, "labels")
        while len(x):
            most = _block_rows(x.shape[1:], batch_size)
            wanted = min(rows_per_shard - done % rows_per_shard, most)
            count = min(len(x), wanted - held)
            inputs.append(x[:count])
            labels += [] if y is None else [y[:count]]
            x, y, held = x[count:], None if y is None else y[count:], held + count
            if held == wanted:
                yield collected()
                inputs, labels, done, held = [], [], done + held, 0
    if held:
        yield collected()


def _block_rows(shape: tuple[int, ...], batch_size: int) -> int:
    batch_bytes = 4 * int(np.prod(shape)) * batch_size
    return batch_size * max(1, min(_BLOCK_BATCHES, _BLOCK_BYTES // max(batch_bytes, 1)))
