"""Batches of 8-bit images for Keras, with a reproducible order."""

from __future__ import annotations

import numpy as np

from keras_vq.data.ordered_batches import OrderedBatches


class ImageBatches(OrderedBatches):
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
        super().__init__(len(pixels), batch_size, shuffle, seed, first_epoch)
        self._pixels = pixels
        self._labels = labels

    def _batch(self, order: np.ndarray | None, index: int) -> tuple[np.ndarray, ...]:
        part = slice(index * self._batch_size, (index + 1) * self._batch_size)
        chosen = part if order is None else order[part]
        images = np.divide(self._pixels[chosen], 255, dtype=np.float32)
        if self._labels is None:
            return (images,)
        return images, np.array(self._labels[chosen])
