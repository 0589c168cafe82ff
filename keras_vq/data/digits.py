"""The 8x8 digits that come with scikit-learn: 1,797 images, no network."""

from __future__ import annotations

import numpy as np

SPLITS = ("train", "test")
TRAIN_LENGTH = 1437


def read_digits(split: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Pixels (n, 8, 8, 1) uint8, labels (n,) int32 and class names of one split.

    The 17 shades 0 to 16 of the original are spread over 0 to 255. The first 1,437 images are the
    training images and the other 360 the test images.

    Raises:
        ImportError: where scikit-learn isn't installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            'load("digits") reads the digits that come with scikit-learn. '
            "Install it: pip install scikit-learn"
        ) from error
    digits = load_digits()
    part = slice(TRAIN_LENGTH) if split == "train" else slice(TRAIN_LENGTH, None)
    pixels = np.round(digits.images[part] * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    return pixels, digits.target[part].astype(np.int32), tuple("0123456789")
