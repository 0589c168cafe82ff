"""Batches for Keras with a reproducible order for resumed training."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np


class OrderedBatches(keras.utils.PyDataset):
    """`PyDataset` with a reproducible order in each epoch; see `ImageBatches`.

    A subclass implements `_batch` and, for another order than a permutation of rows, `_draw_order`.

    Args:
        rows: Integer. Number of rows.
        batch_size: Integer. Batch size. The last batch can be smaller.
        shuffle: Boolean. Whether to use a new random order in each epoch.
        seed: Integer. Seed of the random orders.
        first_epoch: Integer. Number of the first epoch.

    Raises:
        ValueError: If the batch size is less than 1, or the seed or first epoch is negative.
    """

    def __init__(
        self, rows: int, batch_size: int, shuffle: bool, seed: int, first_epoch: int
    ) -> None:
        super().__init__()
        for argument, value, least in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("first_epoch", first_epoch, 0),
        ):
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not whole or value < least:
                kind = "positive" if least else "non-negative"
                raise ValueError(f"`{argument}` must be a {kind} integer. Received: {value!r}")
        self._rows = rows
        self._batch_size = int(batch_size)
        self._shuffle = bool(shuffle)
        self._seed = int(seed)
        self._epoch = int(first_epoch)
        self._order = self._draw_order()
        # Position of each requested index in this epoch of `fit`; None outside `fit`.
        self._positions: dict[int, int] | None = None
        # TensorFlow requests batches from another thread.
        self._lock = threading.Lock()

    @property
    def epoch(self) -> int:
        """Number of the current epoch."""
        return self._epoch

    # Fixed, because with several workers Keras requests batches before `on_epoch_begin`, and each
    # of several processes would count positions separately.
    @property
    def workers(self) -> int:
        """Number of workers, always 1."""
        return 1

    @property
    def use_multiprocessing(self) -> bool:
        """Use of multiprocessing, always False."""
        return False

    def __len__(self) -> int:
        return -(-self._rows // self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Returns batch `index` of the epoch, a tuple.

        Raises:
            IndexError: If there is no such batch.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"The batch index must be less than {len(self)}. Received: {index}")
        with self._lock:
            if self._positions is not None:
                index = self._positions.setdefault(index, len(self._positions))
            order = self._order
        return self._batch(order, index)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for index in range(len(self)):
            yield self._batch(self._order, index)

    def on_epoch_begin(self) -> None:
        """Starts an epoch of `fit`. Called by Keras."""
        with self._lock:
            self._positions = {}

    def on_epoch_end(self) -> None:
        """Draws the order of the next epoch. Called by Keras at the end of each epoch."""
        # Keras's fit and evaluate also call this before their first epoch, from
        # EpochIterator.reset through the adapter's on_epoch_end. No epoch has ended then, even if
        # a batch was read to build the model.
        adapter = inspect.currentframe()
        for _ in range(2):
            adapter = adapter and adapter.f_back
        is_reset = adapter is not None and (
            adapter.f_code.co_name == "reset"
            and str(adapter.f_globals.get("__name__")).startswith("keras.")
        )
        with self._lock:
            self._positions = None
            if not is_reset:
                self._epoch += 1
                self._order = self._draw_order()

    def _draw_order(self) -> Any:
        """Draws the order of this epoch. Returns `None` without shuffling."""
        return self._permutation(self._rows, self._epoch) if self._shuffle else None

    def _permutation(self, n: int, epoch: int, *key: int) -> np.ndarray:
        """Returns the permutation of n numbers that belongs to the seed, an epoch and a key."""
        return np.random.default_rng((self._seed, epoch, *key)).permutation(n)

    def _batch(self, order: Any, index: int) -> tuple[Any, ...]:
        """Returns the batch at a position of an order of `_draw_order`."""
        raise NotImplementedError
