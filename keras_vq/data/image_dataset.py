"""Data set of memory-mapped 8-bit images with labels."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_vq.data.image_batches import ImageBatches


class ImageDataset:
    """Data set of 8-bit images with optional labels.

    `keras_vq.data.load` returns an `ImageDataset`. Create one to use its methods with your own
    array. Pixels of loaded data sets are memory-mapped, so `batches` can train on a data set larger
    than the memory.

    Args:
        pixels: Uint8 array of shape `(n, height, width, channels)`. Stored as a read-only view,
            without a copy.
        labels: Integer array of shape `(n,)`. Defaults to None.
        class_names: Sequence of strings. Names of labels 0, 1, .... Defaults to None.
        name: String. Name of the data set. Defaults to `"images"`.
        split: String. Name of the split. Defaults to `"train"`.
        skipped: Sequence of strings. Names of unreadable images that were left out, with the
            reason. Defaults to `()`.

    Raises:
        ValueError: If the dtype or shape of an array is invalid.

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
    """

    def __init__(
        self,
        pixels: np.ndarray,
        labels: Any = None,
        class_names: Sequence[str] | None = None,
        name: str = "images",
        split: str = "train",
        skipped: Sequence[str] = (),
    ) -> None:
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 4:
            shape, dtype = getattr(pixels, "shape", None), getattr(pixels, "dtype", None)
            raise ValueError(
                "`pixels` must be a uint8 array of shape (n, height, width, channels). "
                f"Received: {type(pixels).__name__} of shape {shape} and type {dtype}"
            )
        if labels is not None:
            labels = np.asarray(labels)
            if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu":
                raise ValueError(
                    f"`labels` must be one integer per image, an array of shape "
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
        self._skipped = tuple(skipped)

    @property
    def pixels(self) -> np.ndarray:
        """Read-only uint8 array of shape `(n, height, width, channels)`."""
        return self._pixels

    @property
    def labels(self) -> np.ndarray | None:
        """Read-only int32 array of shape `(n,)`, or None for a data set without labels."""
        return self._labels

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of labels 0, 1, ..., or None."""
        return self._class_names

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self._name

    @property
    def split(self) -> str:
        """Requested split, including any slice, e.g. `"train[:1000]"`."""
        return self._split

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names of unreadable images that were left out, with the reason."""
        return self._skipped

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Tuple `(height, width, channels)`, the shape of one image."""
        height, width, channels = self._pixels.shape[1:]
        return height, width, channels

    @property
    def images(self) -> np.ndarray:
        """Float32 array of shape `(n, height, width, channels)`, with pixels in [0, 1].

        Recomputed on each access and four times as large as `pixels`. Use `batches` for data that
        does not fit into memory.
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
        """Returns the first `n` images, or all images if there are fewer.

        Args:
            n: Integer, at least 1. Number of images.

        Returns:
            `ImageDataset` that shares the memory of this one.

        Raises:
            ValueError: If `n` is less than 1.
        """
        if operator.index(n) < 1:
            raise ValueError(f"`n` must be a positive integer. Received: {n}")
        return ImageDataset(
            self._pixels[:n],
            labels=None if self._labels is None else self._labels[:n],
            class_names=self._class_names,
            name=self._name,
            split=self._split,
            skipped=self._skipped,
        )

    def batches(
        self,
        batch_size: int = 128,
        shuffle: bool = False,
        seed: int = 0,
        first_epoch: int = 0,
        with_labels: bool = False,
    ) -> ImageBatches:
        """Returns batches for `fit`, `evaluate` and `predict`, each converted to float32 on access.

        The order of an epoch depends on `seed` and the number of the epoch only. To resume a run
        that stopped after e epochs with the same batches, pass `first_epoch=e`. See `ImageBatches`.

        Args:
            batch_size: Integer. Batch size. The last batch can be smaller. Defaults to 128.
            shuffle: Boolean. Whether to use a new random order in each epoch. Defaults to False.
            seed: Integer. Seed of the random orders. Defaults to 0.
            first_epoch: Integer. Number of the first epoch. Defaults to 0.
            with_labels: Boolean. Whether batches are `(images, labels)` instead of `(images,)`.
                Defaults to False.

        Returns:
            `ImageBatches`, which is a `keras.utils.PyDataset`.

        Raises:
            ValueError: If the batch size is less than 1, the seed or first epoch is negative, or
                `with_labels=True` for a data set without labels.
        """
        if with_labels and self._labels is None:
            raise ValueError(
                f"`with_labels=True` requires a data set with labels. Received: {self!r}"
            )
        return ImageBatches(
            self._pixels,
            labels=self._labels if with_labels else None,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            first_epoch=first_epoch,
        )
