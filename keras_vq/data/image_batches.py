"""Batches of 8-bit images for Keras, with a reproducible order for resumed training."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator

import keras
import numpy as np


class ImageBatches(keras.utils.PyDataset):
    """`PyDataset` of float32 batches of 8-bit images, with a reproducible order in each epoch.

    The order of an epoch depends on `seed` and the number of the epoch only. To resume a `fit`
    that stopped after e epochs with the same batches, pass `first_epoch=e`:

    - The argument `shuffle` of `fit` has no effect. With its default, Keras requests batches in a
      random order; the first batch that Keras requests in an epoch is the first batch of the order,
      whatever its index.
    - An interrupted epoch is not counted. The next `fit` starts it again.

    Use separate objects for training and validation, because each object counts epochs; objects of
    one `ImageDataset` share the pixels. For short epochs, use `ImageDataset.take` instead of
    `steps_per_epoch`, because TensorFlow prefetches batches beyond the end of such an epoch.
    Batches are created in one thread: creation is a copy, which more workers do not accelerate.

    Args:
        pixels: Uint8 array of shape `(n, height, width, channels)`.
        labels: Int32 array of shape `(n,)`. Defaults to None.
        batch_size: Integer. Batch size. The last batch can be smaller. Defaults to 128.
        shuffle: Boolean. Whether to use a new random order in each epoch instead of the order of
            `pixels`. Defaults to False.
        seed: Integer. Seed of the random orders. Defaults to 0.
        first_epoch: Integer. Number of the first epoch. Defaults to 0.

    Raises:
        ValueError: If the batch size is less than 1, or the seed or first epoch is negative.

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
                kind = "positive" if least else "non-negative"
                raise ValueError(f"`{argument}` must be a {kind} integer. Received: {value!r}")
        self._pixels = pixels
        self._labels = labels
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
        return -(-len(self._pixels) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Returns batch `index` of the epoch.

        Returns:
            Tuple `(images,)`, or `(images, labels)` if there are labels. Images are a float32 array
            of shape `(batch, height, width, channels)` with pixels in [0, 1], labels an int32 array
            of shape `(batch,)`.

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

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
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

    def _draw_order(self) -> np.ndarray | None:
        """Draws the permutation of this epoch. Returns None without shuffling."""
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
