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
_SAMPLED_ROWS = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class _Block(NamedTuple):
    """Successive rows of a source."""

    inputs: np.ndarray
    labels: np.ndarray | None


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

    A repeated call encodes what is missing, e.g. after an interruption, with the same files as
    without it. A call with another source and name adds shards and changes none. Memory holds the
    codes of one shard and about 200 MB of inputs, whatever the size of the source.

    Args:
        source: `ImageDataset` of `keras_vq.data.load`, array of shape `(n, ...)` such as a
            memory-mapped `.npy` file, or data set of batches: inputs or (inputs, labels). Data sets
            of batches must yield the same rows each time; a resumed call reads them from the start.
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
    facts, digest = _model_facts(model), _digest(source)
    rows = len(source) if _has_rows(source) else None
    if rows == 0:
        raise ValueError(f"`source` must have at least one row. Received: {source!r:.100}")
    entry = {
        "digest": digest,
        "rows_per_shard": rows_per_shard,
        "skipped": list(getattr(source, "skipped", ())),
        "shards": [],
        "rows": 0,
        "is_complete": False,
    }
    folder = Path(directory)
    manifest = _opened(folder, facts, name, entry)
    entry = manifest["sources"][name]
    if not entry["is_complete"]:
        with ProgressBar(f"Encoding {name}", rows, progress) as bar:
            _encode_missing(source, model, folder, name, manifest, batch_size, bar)
    return CodeDataset(folder, sources=[name], batch_size=batch_size)


def _encode_missing(
    source: Any,
    model: Any,
    folder: Path,
    name: str,
    manifest: dict[str, Any],
    batch_size: int,
    bar: ProgressBar,
) -> None:
    entry = manifest["sources"][name]
    rows_per_shard = entry["rows_per_shard"]
    rows = len(source) if _has_rows(source) else None
    _adopt_shards(folder, name, manifest)
    bar.advance(entry["rows"])
    # The last shard may be short only if nothing follows it.
    blocks = _rows_from(source, entry["rows"], batch_size, rows_per_shard)
    made: list[tuple[np.ndarray, np.ndarray | None]] = []
    dtype = _shards.codes_type(manifest["model"]["codebook_sizes"])

    def finish() -> None:
        codes = np.concatenate([codes for codes, _ in made])
        labels = None if made[0][1] is None else np.concatenate([each[1] for each in made])
        file = _file_name(name, len(entry["shards"]))
        metadata = {"model": manifest["model"], "source": name, "first_row": entry["rows"]}
        metadata |= {key: entry[key] for key in ("digest", "rows_per_shard")}
        _shards.write_shard(folder / file, codes, labels, metadata)
        entry["shards"].append({"file": file, "rows": len(codes)})
        entry["rows"] += len(codes)
        _shards.write_manifest(folder, manifest)
        made.clear()

    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(next, blocks, None)
        while (block := waiting.result()) is not None:
            waiting = reader.submit(next, blocks, None)  # read while the model encodes
            codes = model.encode(block.inputs, batch_size=batch_size)
            made.append((codes.astype(dtype), block.labels))
            bar.advance(len(codes))
            if sum(len(codes) for codes, _ in made) == rows_per_shard:
                finish()
    if made:
        finish()
    if rows is None and not entry["rows"]:
        raise ValueError("`source` must have at least one row. Received: an empty data set")
    entry["is_complete"] = True
    _shards.write_manifest(folder, manifest)


def _adopt_shards(folder: Path, name: str, manifest: dict[str, Any]) -> None:
    """Lists the complete shards that an interrupted call has written."""
    entry = manifest["sources"][name]
    entry["shards"], entry["rows"] = [], 0
    for path in folder.iterdir():
        if is_unfinished(path):
            path.unlink(missing_ok=True)
    for number in itertools.count():
        path = folder / _file_name(name, number)
        if not path.exists():
            return
        metadata, found = _shards.read_metadata(path)
        expected = {"model": manifest["model"], "source": name, "first_row": entry["rows"]}
        expected |= {key: entry[key] for key in ("digest", "rows_per_shard")}
        if metadata != expected:
            raise ValueError(
                f"The shard {path.name!r} must be of this model and source. Encode to another "
                f"folder, or with another `name`. Received: {metadata}"
            )
        if found.num_rows != entry["rows_per_shard"] and entry["digest"] is None:
            path.unlink()  # the end of a data set of batches, which is read again
            return
        entry["shards"].append({"file": path.name, "rows": found.num_rows})
        entry["rows"] += found.num_rows


def _opened(folder: Path, facts: dict[str, Any], name: str, entry: dict[str, Any]) -> Any:
    """Returns the manifest of the folder with an entry for the source.

    Raises:
        ValueError: If the folder contains codes of another model, or of another source of this
            name.
    """
    folder.mkdir(parents=True, exist_ok=True)
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
    known = manifest["sources"].setdefault(name, entry)
    for key in ("digest", "rows_per_shard"):
        if known[key] != entry[key]:
            what = "The source" if key == "digest" else f"`{key}`"
            raise ValueError(
                f"{what} of {name!r} must be that of the first call, because written shards are "
                "not changed. Pass another `name` for another source. "
                f"Received: {key}={entry[key]!r}, before: {known[key]!r}"
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


def _digest(source: Any) -> str | None:
    """Returns a digest of the shape and of 64 rows of a source, `None` for a data set of batches.

    Raises:
        ValueError: If the source is neither an array nor a data set.
    """
    if not _has_rows(source):
        return None
    values = source.pixels if isinstance(source, ImageDataset) else source
    if not hasattr(values, "shape") or not hasattr(values, "dtype") or not len(values.shape):
        raise ValueError(f"`source` must be {SOURCES}. Received: {type(source).__name__}")
    digest = hashlib.sha256(f"{values.dtype}{tuple(values.shape)}".encode())
    count = len(values)
    for row in np.linspace(0, count - 1, min(count, _SAMPLED_ROWS)).astype(int):
        digest.update(to_numpy(values[int(row)]).tobytes())
    return digest.hexdigest()[:16]


def _rows_from(source: Any, start: int, batch_size: int, rows_per_shard: int) -> Iterator[_Block]:
    """Yields the rows of a source from a row on, in blocks that end with each shard."""
    if not _has_rows(source):
        yield from _rebatched(source, start, batch_size, rows_per_shard)
        return
    values = source.pixels if isinstance(source, ImageDataset) else source
    while start < len(source):
        room = rows_per_shard - start % rows_per_shard
        stop = min(start + min(room, _block_rows(values.shape[1:], batch_size)), len(source))
        if isinstance(source, ImageDataset):
            labels = None if source.labels is None else source.labels[start:stop]
            yield _Block(np.divide(values[start:stop], 255, dtype="float32"), labels)
        else:
            yield _Block(to_numpy(values[start:stop]), None)
        start = stop


def _rebatched(source: Any, start: int, batch_size: int, rows_per_shard: int) -> Iterator[_Block]:
    """Yields the rows of a data set of batches from a row on, in blocks that end with each shard.

    The blocks of a shard do not depend on `start`, which is the first row of a shard.
    """
    room = rows_per_shard
    inputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    skipped = held = 0

    def block() -> _Block:
        if labels and len(labels) != len(inputs):
            raise ValueError(
                "All batches of `source` must have labels, or none. Received: both kinds"
            )
        made = _Block(np.concatenate(inputs), np.concatenate(labels) if labels else None)
        inputs.clear()
        labels.clear()
        return made

    for batch in batches_of(source):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        x, y = to_numpy(x), None if y is None else to_numpy(y)
        out = min(len(x), start - skipped)
        skipped += out
        x, y = x[out:], None if y is None else y[out:]
        while len(x):
            count = min(len(x), room, _block_rows(x.shape[1:], batch_size) - held)
            inputs.append(x[:count])
            if y is not None:
                labels.append(y[:count])
                y = y[count:]
            x, room, held = x[count:], room - count, held + count
            if not room or held == _block_rows(inputs[0].shape[1:], batch_size):
                yield block()
                room, held = room or rows_per_shard, 0
    if inputs:
        yield block()


def _block_rows(shape: tuple[int, ...], batch_size: int) -> int:
    batch_bytes = 4 * int(np.prod(shape)) * batch_size
    return batch_size * max(1, min(_BLOCK_BATCHES, _BLOCK_BYTES // max(batch_bytes, 1)))
