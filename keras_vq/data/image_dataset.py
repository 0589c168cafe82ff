"""A set of images in memory-mapped 8-bit form, with its labels."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_vq.data.image_batches import ImageBatches


class ImageDataset:
    """Images as 8-bit pixels, labels where there are any, and batches for `fit`.

    `keras_vq.data.load` returns one; build one yourself to give an own array the same methods.
    The pixels are read from disk as they are needed: a set larger than the memory can be trained
    on through `batches`.

    Example:
        >>> import numpy as np
        >>> from keras_vq.data import ImageDataset
        >>> dataset = ImageDataset(np.zeros((10, 8, 8, 1), "uint8"), name="black", split="train")
        >>> dataset
        <ImageDataset black, train: 10 images of 8x8x1, no labels>
        >>> dataset.images.shape, dataset.images.dtype
        ((10, 8, 8, 1), dtype('float32'))
        >>> len(dataset.take(3))
        3
        >>> len(dataset.batches(batch_size=4))  # the last batch holds 2 images
        3

    Args:
        pixels: uint8 array, shape (n, height, width, channels), values 0 to 255. Kept without a
            copy, as a read-only view.
        labels: integers, shape (n,), or None.
        class_names: the name of each label, label 0 first, or None.
        name: what the set is called.
        split: which part of the set this is.

    Raises:
        ValueError: where an array's type or shape is not the one above.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        labels: Any = None,
        class_names: Sequence[str] | None = None,
        name: str = "images",
        split: str = "train",
    ) -> None:
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 4:
            shape, dtype = getattr(pixels, "shape", None), getattr(pixels, "dtype", None)
            raise ValueError(
                "pixels must be a uint8 array of shape (n, height, width, channels). "
                f"Received: {type(pixels).__name__} of shape {shape} and type {dtype}"
            )
        if labels is not None:
            labels = np.asarray(labels)
            if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu":
                raise ValueError(
                    f"labels must be integers, one for each image, so of shape "
                    f"{pixels.shape[:1]}. Received: shape {labels.shape}, type {labels.dtype}"
                )
            labels = labels.astype(np.int32, copy=False).view()
            labels.flags.writeable = False
        self._pixels = pixels.view()
        self._pixels.flags.writeable = False
        self._labels: np.ndarray | None = labels
        self._class_names = None if class_names is None else tuple(class_names)
        self._name = name
        self._split = split

    @property
    def pixels(self) -> np.ndarray:
        """The images, uint8, shape (n, height, width, channels), 0 to 255, read-only."""
        return self._pixels

    @property
    def labels(self) -> np.ndarray | None:
        """The label of each image, int32, shape (n,), read-only; None without labels."""
        return self._labels

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The name of each label, label 0 first; None where they have no names."""
        return self._class_names

    @property
    def name(self) -> str:
        """What the set is called."""
        return self._name

    @property
    def split(self) -> str:
        """The split as it was asked for, slice included, such as `"train[:1000]"`."""
        return self._split

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        height, width, channels = self._pixels.shape[1:]
        return height, width, channels

    @property
    def images(self) -> np.ndarray:
        """All images at once, float32, shape (n, height, width, channels), 0 to 1.

        Computed anew each time, and four times as large as `pixels`: use `batches` for a set
        that does not fit into memory.
        """
        return np.divide(self._pixels, 255, dtype=np.float32)

    def __len__(self) -> int:
        return len(self._pixels)

    def __repr__(self) -> str:
        if self._labels is None:
            labels = "no labels"
        elif self._class_names is None:
            labels = "labels"
        else:
            labels = f"{len(self._class_names)} classes"
        size = "x".join(str(length) for length in self.image_shape)
        return (
            f"<ImageDataset {self._name}, {self._split}: {len(self):,} images of {size}, {labels}>"
        )

    def take(self, n: int) -> ImageDataset:
        """The first `n` images, or all where there are fewer; shares the memory.

        Args:
            n: how many, at least 1.

        Returns:
            An `ImageDataset`.

        Raises:
            ValueError: if `n` is less than 1.
        """
        if operator.index(n) < 1:
            raise ValueError(f"n must be at least 1. Received: {n}")
        return ImageDataset(
            self._pixels[:n],
            labels=None if self._labels is None else self._labels[:n],
            class_names=self._class_names,
            name=self._name,
            split=self._split,
        )

    def batches(
        self,
        batch_size: int = 128,
        shuffle: bool = False,
        seed: int = 0,
        first_epoch: int = 0,
        with_labels: bool = False,
    ) -> ImageBatches:
        """Batches for `fit`, `evaluate` and `predict`, converted to float32 one at a time.

        The order in epoch e depends on nothing but `seed` and e, so a run that stopped after e
        epochs goes on as if it never had when it is given `first_epoch=e`. See `ImageBatches`.

        Args:
            batch_size: images in a batch; the last one may hold fewer.
            shuffle: whether each epoch has a new random order.
            seed: which random orders.
            first_epoch: the epoch to begin with.
            with_labels: whether a batch is (images, labels) instead of (images,).

        Returns:
            An `ImageBatches`, which is a `keras.utils.PyDataset`.

        Raises:
            ValueError: for a batch size below 1, a negative seed or first epoch, or
                `with_labels=True` where there are no labels.
        """
        if with_labels and self._labels is None:
            raise ValueError(f"with_labels=True needs a set that has labels. Received: {self!r}")
        return ImageBatches(
            self._pixels,
            labels=self._labels if with_labels else None,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            first_epoch=first_epoch,
        )
