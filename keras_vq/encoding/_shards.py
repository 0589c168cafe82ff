"""Shards: Parquet files of codes, and the manifest of their folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vq._files import whole_file

# Functions import pyarrow, which `import keras_vq` does not need.
if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FORMAT = 1
MANIFEST = "manifest.json"
# A shuffled reader mixes several row groups, so these are smaller than usual for Parquet.
ROWS_PER_GROUP = 10_000
_METADATA = b"keras_vq"


def codes_type(codebook_sizes: list[int]) -> np.dtype:
    """Returns the smallest unsigned type of the codes."""
    return np.min_scalar_type(max(codebook_sizes) - 1)


def write_shard(
    path: Path, codes: np.ndarray, labels: np.ndarray | None, metadata: dict[str, Any]
) -> None:
    """Writes a shard, whole or not at all.

    Args:
        path: Path of the file.
        codes: Unsigned integer array of shape `(n, *code_shape)`.
        labels: Integer array of shape `(n,)`, or None.
        metadata: Dictionary of JSON values for the schema, with `source` and `first_row`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    width = codes[0].size
    ids = [f"{metadata['source']}:{metadata['first_row'] + row}" for row in range(len(codes))]
    flat = pa.array(codes.reshape(-1))
    columns: dict[str, pa.Array] = {
        "id": pa.array(ids),
        "codes": pa.FixedSizeListArray.from_arrays(flat, width),
    }
    if labels is not None:
        columns["label"] = pa.array(labels.astype("int32"))
    text = json.dumps(metadata, sort_keys=True)
    table = pa.table(columns).replace_schema_metadata({_METADATA: text})
    with whole_file(path) as beside:
        pq.write_table(table, beside, compression="zstd", row_group_size=ROWS_PER_GROUP)


def read_metadata(path: Path) -> tuple[dict[str, Any], pq.FileMetaData]:
    """Reads the metadata of a shard.

    Raises:
        ValueError: If the file is damaged, or is not a shard of `encode_dataset`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_metadata(path)
        return json.loads(found.metadata[_METADATA]), found
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            "A shard of codes must be a Parquet file written by `encode_dataset`. Delete it and "
            f"encode the source again. Received: {str(path)!r} ({str(error)[:200]})"
        ) from error


def read_group(path: Path, group: int, columns: list[str]) -> dict[str, np.ndarray]:
    """Reads columns of a row group as arrays; codes have shape `(n, codes per input)`.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read_row_group(group, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(
            "A shard of codes could not be read. Restore it, or delete it and encode the source "
            f"again. Received: {str(path)!r} ({str(error)[:200]})"
        ) from error
    arrays = {name: table.column(name).combine_chunks() for name in columns}
    return {
        name: array.flatten().to_numpy().reshape(len(array), -1)
        if name == "codes"
        else array.to_numpy(zero_copy_only=False)
        for name, array in arrays.items()
    }


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Reads the manifest of a folder, or returns `None` if there is none.

    Raises:
        ValueError: If the file is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        known = manifest["format"] == FORMAT and isinstance(manifest["sources"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ValueError(
            "The manifest must be a file written by `encode_dataset`. Delete it and encode the "
            f"sources again: complete shards are kept. Received: {str(path)!r}"
        )
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest of a folder."""
    with whole_file(folder / MANIFEST) as beside:
        text = json.dumps(manifest, indent=1, sort_keys=True)
        beside.write_text(f"{text}\n", encoding="utf-8")
