"""Batches of 8-bit images for Keras, in an order that a resumed fit finds again."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator

import keras
import numpy as np


class ImageBatches(keras.utils.PyDataset):
    """Float32 batches of an array of 8-bit images, each epoch in an order of its own.

    The order in epoch e depends on nothing but `seed` and e. A `fit` that stopped after e epochs
    is therefore continued exactly by batches with `first_epoch=e`:

    - It does not matter whether `fit` is given `shuffle=False` or left at its default, with which
      Keras asks for the batches in a random order: during an epoch of `fit`, the first batch asked
      for is the first of the order, whatever its index.
    - An epoch that `fit` breaks off is not counted, and begins anew in the next `fit`.

    Give training and validation an object each (they share the images), because every epoch of
    either one counts. Use `ImageDataset.take` rather than `steps_per_epoch` for short epochs:
    TensorFlow fetches batches ahead, across the end of such an epoch. Everything happens in
    one thread; making a batch is a copy, which more workers would not speed up.

    Example:
        >>> import numpy as np
        >>> from keras_vq.data import ImageDataset
        >>> dataset = ImageDataset(np.arange(5, dtype="uint8").reshape(5, 1, 1, 1) * 51)
        >>> batches = dataset.batches(batch_size=2, shuffle=True, seed=1)
        >>> len(batches)
        3
        >>> [images.shape for (images,) in batches]
        [(2, 1, 1, 1), (2, 1, 1, 1), (1, 1, 1, 1)]
        >>> batches.on_epoch_end()
        >>> resumed = dataset.batches(batch_size=2, shuffle=True, seed=1, first_epoch=1)
        >>> bool(np.all(batches[0][0] == resumed[0][0]))
        True

    Args:
        pixels: uint8 array, shape (n, height, width, channels).
        labels: int32 array, shape (n,), or None.
        batch_size: images in a batch; the last one may hold fewer.
        shuffle: whether each epoch has a new random order; False keeps the order of `pixels`.
        seed: which random orders.
        first_epoch: the epoch to begin with.

    Raises:
        ValueError: for a batch size below 1, or a negative seed or first epoch.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        labels: np.ndarray | None = None,
        batch_size: int = 128,
        shuffle: bool = False,
        seed: int = 0,
        first_epoch: int = 0,
    ) -> None:
        super().__init__()
        for argument, value, least in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("first_epoch", first_epoch, 0),
        ):
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not whole or value < least:
                raise ValueError(
                    f"{argument} must be a whole number of at least {least}. Received: {value!r}"
                )
        self._pixels = pixels
        self._labels = labels
        self._batch_size = int(batch_size)
        self._shuffle = bool(shuffle)
        self._seed = int(seed)
        self._epoch = int(first_epoch)
        self._order = self._draw_order()
        # Position of each index that Keras has asked for in this epoch; None between epochs.
        self._positions: dict[int, int] | None = None
        # TensorFlow asks for batches from a thread of its own.
        self._lock = threading.Lock()

    @property
    def epoch(self) -> int:
        """The epoch whose order the batches have now."""
        return self._epoch

    # Fixed, because with several workers Keras asks for batches before it says that the epoch
    # begins, and with several processes each would count positions for itself.
    @property
    def workers(self) -> int:
        """1: batches are made in one thread."""
        return 1

    @property
    def use_multiprocessing(self) -> bool:
        """False: batches are made in the process that uses them."""
        return False

    def __len__(self) -> int:
        return -(-len(self._pixels) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Batch `index` of the epoch: (images,) or (images, labels).

        Returns:
            images: float32, shape (batch size, height, width, channels), 0 to 1.
            labels: int32, shape (batch size,); only where there are labels.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} batches. Received: index {index}")
        with self._lock:
            if self._positions is not None:
                index = self._positions.setdefault(index, len(self._positions))
            order = self._order
        return self._batch(order, index)

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        for index in range(len(self)):
            yield self._batch(self._order, index)

    def on_epoch_begin(self) -> None:
        """Keras calls this at the beginning of each epoch."""
        with self._lock:
            self._positions = {}

    def on_epoch_end(self) -> None:
        """Goes to the next epoch's order; Keras calls this at the end of each epoch."""
        # Keras's fit and evaluate call this once more before their first epoch, from
        # EpochIterator.reset (caller: the adapter's on_epoch_end; its caller: reset), at times
        # after a batch was read to build the model: no epoch has ended then.
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

    def _draw_order(self) -> np.ndarray | None:
        """The order of this epoch, or None for the order of the array."""
        if not self._shuffle:
            return None
        return np.random.default_rng((self._seed, self._epoch)).permutation(len(self._pixels))

    def _batch(self, order: np.ndarray | None, index: int) -> tuple[np.ndarray, ...]:
        part = slice(index * self._batch_size, (index + 1) * self._batch_size)
        chosen = part if order is None else order[part]
        images = np.divide(self._pixels[chosen], 255, dtype=np.float32)
        if self._labels is None:
            return (images,)
        return images, np.array(self._labels[chosen])
