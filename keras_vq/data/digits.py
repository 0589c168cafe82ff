"""Digits data set of scikit-learn: 1,797 images of 8x8 pixels, available offline."""

from __future__ import annotations

import numpy as np

from keras_vq._extras import require

SPLITS = ("train", "test")
TRAIN_LENGTH = 1437


def read_digits(split: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Loads one split of the digits data set.

    Gray levels 0 to 16 are scaled to 0 to 255. The first 1,437 images are the training set and the
    other 360 images the test set.

    Args:
        split: String. `"train"` or `"test"`.

    Returns:
        Tuple of pixels (uint8 array of shape `(n, 8, 8, 1)`), labels (int32 array of shape `(n,)`)
        and class names.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    require(("sklearn",), "sklearn", 'load("digits")')
    from sklearn.datasets import load_digits

    digits = load_digits()
    part = slice(TRAIN_LENGTH) if split == "train" else slice(TRAIN_LENGTH, None)
    pixels = np.round(digits.images[part] * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    return pixels, digits.target[part].astype(np.int32), tuple("0123456789")
