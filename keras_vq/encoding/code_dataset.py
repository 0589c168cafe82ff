"""Data set of encoded codes that is read from disk while a model trains."""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_vq import _validation
from keras_vq.data.ordered_batches import OrderedBatches
from keras_vq.encoding import _shards

LABELS = (None, "condition", "target")


class _Order(NamedTuple):
    """Order of the rows in an epoch."""

    epoch: int
    groups: np.ndarray
    # First row of each window of groups that are mixed, and the number of rows.
    edges: list[int]


class CodeDataset(OrderedBatches):
    """Batches of the codes in a folder written by `encode_dataset`, for `fit` of any Keras model.

    The codes are read while the model trains. With `shuffle=True`, row groups of 10,000 rows are
    put in random order, and the rows of as many of them as `shuffle_rows` allows are mixed, so that
    memory holds twice `shuffle_rows` rows of codes, whatever the size of the folder.

    The order of an epoch depends on `seed` and the number of the epoch only. To resume a `fit`
    that stopped after e epochs with the same batches, pass `first_epoch=e`. Use separate objects
    for training and validation, because each object counts epochs.

    Args:
        directory: String or path. Folder of `encode_dataset`.
        sources: Sequence of strings. Names of the sources to read, in this order. Defaults to
            `None`: all sources by name.
        batch_size: Integer. Batch size. The last batch can be smaller. Defaults to 128.
        labels: `None`: batches are `(codes,)`. `"condition"`: `({"codes": codes, "labels":
            labels},)`, for a prior with `num_classes`. `"target"`: `(codes, labels)`, for a
            classifier of codes. Defaults to `None`.
        shuffle: Boolean. Whether to use a new random order in each epoch. Defaults to `False`.
        shuffle_rows: Integer. Number of rows that are mixed. Defaults to 200,000.
        seed: Integer. Seed of the random orders. Defaults to 0.
        first_epoch: Integer. Number of the first epoch. Defaults to 0.

    Raises:
        ValueError: If the folder has no complete codes of a source, a shard is missing or damaged,
            or `labels` is set for a source without labels.

    Example:
        >>> import tempfile, numpy as np, keras_vq
        >>> model = keras_vq.VQVAE.from_preset("vqvae_mnist")
        >>> prior = keras_vq.priors.PixelCNNPrior.for_model(model, hidden_dim=8, num_layers=1)
        >>> prior.compile("adam")
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     images = np.zeros((8, 28, 28, 1), "float32")
        ...     _ = keras_vq.encoding.encode_dataset(images, model, directory, name="black")
        ...     codes = keras_vq.encoding.CodeDataset(directory, batch_size=4, shuffle=True)
        ...     history = prior.fit(codes, verbose=0)
        >>> len(codes), codes.rows
        (2, 8)
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        sources: Sequence[str] | None = None,
        batch_size: int = 128,
        labels: str | None = None,
        shuffle: bool = False,
        shuffle_rows: int = 200_000,
        seed: int = 0,
        first_epoch: int = 0,
    ) -> None:
        if labels not in LABELS:
            raise ValueError(
                f'`labels` must be None, "condition" or "target". Received: {labels!r}'
            )
        _validation.check_positive_integer("shuffle_rows", shuffle_rows)
        self.directory = Path(directory)
        manifest = _shards.read_manifest(self.directory)
        if manifest is None:
            raise ValueError(
                "`directory` must be a folder written by `encode_dataset`. "
                f"Received: {str(directory)!r}, which has no {_shards.MANIFEST}"
            )
        self.model: dict[str, Any] = manifest["model"]
        self.sources = _checked_sources(sources, manifest)
        self._labels = labels
        self._groups, counts = self._listed(manifest)
        most = max(shuffle_rows, max(counts))
        self._window_groups = max(1, most // max(counts))
        self._counts = np.array(counts)
        self._windows: dict[tuple[int, int], dict[str, np.ndarray]] = {}
        super().__init__(sum(counts), batch_size, shuffle, seed, first_epoch)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._rows

    @property
    def files(self) -> list[Path]:
        """Paths of the Parquet files, in the order of their rows."""
        return list(dict.fromkeys(path for path, _ in self._groups))

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape of the codes of one input."""
        return tuple(self.model["code_shape"])

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size of each code of a vector."""
        return tuple(self.model["codebook_sizes"])

    def arrow_dataset(self) -> Any:
        """Returns a `pyarrow.dataset.Dataset` with all columns, e.g. for `to_table`."""
        import pyarrow.dataset

        return pyarrow.dataset.dataset(list(map(str, self.files)), format="parquet")

    def read(self, start: int, stop: int) -> tuple[list[str], np.ndarray]:
        """Reads the ids and codes of rows by their position in the files.

        Args:
            start: Integer, at least 0. First row.
            stop: Integer, at most `rows`. Row after the last one.

        Returns:
            Tuple of a list of strings, and an int32 array of shape `(n, *code_shape)`.

        Raises:
            ValueError: If the range is empty or out of bounds, or a shard is damaged.
        """
        if not 0 <= start < stop <= self.rows:
            raise ValueError(
                f"`start` and `stop` must satisfy 0 <= start < stop <= {self.rows}. "
                f"Received: {start} and {stop}"
            )
        ends = np.cumsum(self._counts)
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        rows = self._read_groups(range(first, last + 1), ["id", "codes"])
        skipped = start - int(ends[first] - self._counts[first])
        part = slice(skipped, skipped + stop - start)
        return rows["id"][part].tolist(), self._as_codes(rows["codes"][part])

    def _read_groups(self, groups: Iterable[int], columns: list[str]) -> dict[str, np.ndarray]:
        chosen = [self._groups[group] for group in groups]
        return _joined([_shards.read_group(path, number, columns) for path, number in chosen])

    def _as_codes(self, stored: np.ndarray) -> np.ndarray:
        return stored.astype("int32").reshape(-1, *self.code_shape)

    def _listed(self, manifest: dict[str, Any]) -> tuple[list[tuple[Path, int]], list[int]]:
        """Returns the file and number of each row group, and its number of rows."""
        groups, counts = [], []
        for source in self.sources:
            for shard in manifest["sources"][source]["shards"]:
                path = self.directory / shard["file"]
                _, found = _shards.read_metadata(path)
                if self._labels and "label" not in found.schema.names:
                    raise ValueError(
                        f"`labels` must be None for sources without labels. Received: "
                        f"labels={self._labels!r} and the source {source!r}"
                    )
                for group in range(found.num_row_groups):
                    groups.append((path, group))
                    counts.append(found.row_group(group).num_rows)
        return groups, counts

    def _draw_order(self) -> _Order:
        """Draws the order of the row groups in this epoch."""
        count = len(self._groups)
        groups = self._permutation(count, self._epoch) if self._shuffle else np.arange(count)
        starts = np.cumsum(self._counts[groups]) - self._counts[groups]
        return _Order(self._epoch, groups, [*starts[:: self._window_groups].tolist(), self._rows])

    def _batch(self, order: _Order, index: int) -> tuple[Any, ...]:
        first = index * self._batch_size
        last = min(first + self._batch_size, self._rows)
        parts = []
        window = bisect.bisect_right(order.edges, first) - 1
        while first < last:
            start, stop = order.edges[window], min(last, order.edges[window + 1])
            rows = self._window(order, window)
            part = slice(first - start, stop - start)
            parts.append({name: values[part] for name, values in rows.items()})
            first, window = stop, window + 1
        joined = _joined(parts)
        codes = self._as_codes(joined["codes"])
        if self._labels is None:
            return (codes,)
        if self._labels == "target":
            return codes, joined["label"]
        return ({"codes": codes, "labels": joined["label"]},)

    def _window(self, order: _Order, window: int) -> dict[str, np.ndarray]:
        """Reads the row groups that are mixed, in their order of this epoch."""
        key = (order.epoch, window)
        found = self._windows.get(key)
        if found is None:
            begin = window * self._window_groups
            columns = ["codes", "label"] if self._labels else ["codes"]
            found = self._read_groups(order.groups[begin : begin + self._window_groups], columns)
            if self._shuffle:
                mixed = self._permutation(len(found["codes"]), *key)
                found = {name: values[mixed] for name, values in found.items()}
            # Two, because a batch can begin in one window and end in the next.
            self._windows = dict(list(self._windows.items())[-1:]) | {key: found}
        return found


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}


def _checked_sources(sources: Sequence[str] | None, manifest: dict[str, Any]) -> tuple[str, ...]:
    """Returns the names of the sources to read.

    Raises:
        ValueError: If a source does not exist or is not complete.
    """
    known = manifest["sources"]
    chosen = tuple(sorted(known)) if sources is None else tuple(sources)
    for name in chosen:
        if name not in known:
            raise ValueError(
                f"`sources` must be names out of {sorted(known)}. Received: {sources!r}"
            )
        if not known[name]["is_complete"]:
            raise ValueError(
                f"The source {name!r} must be encoded completely. Repeat the call of "
                "`encode_dataset`, which encodes what is missing. Received: "
                f"{known[name]['rows']:,} rows of an interrupted call"
            )
    return chosen
