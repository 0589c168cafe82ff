"""Validation of feature arrays for the metrics of generated images."""

from typing import Any

import numpy as np
from keras import ops


def check_features(name: str, features: Any) -> np.ndarray:
    """Converts features to an array and validates them.

    Args:
        name: String. Name of the argument in error messages.
        features: Array or tensor of shape `(n, dim)`.

    Raises:
        ValueError: If the shape is different, or a value is NaN or infinite.
    """
    if ops.is_tensor(features):
        features = ops.convert_to_numpy(features)
    features = np.asarray(features)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            f"`{name}` must be features of shape (n, dim), one row per image. Add a global pooling "
            f"layer to the network, or flatten its outputs. Received: shape {features.shape}"
        )
    if features.dtype.kind not in "fiu":
        raise ValueError(f"`{name}` must contain real numbers. Received: type {features.dtype}")
    bad = int((~np.isfinite(features)).sum())
    if bad:
        raise ValueError(
            f"`{name}` must be finite. Remove the images with NaN or infinite features. "
            f"Received: {bad} values that are NaN or infinite"
        )
    return features


def check_both(real: Any, generated: Any) -> tuple[np.ndarray, np.ndarray]:
    """Validates the features of two sets of images from the same network.

    Raises:
        ValueError: If either array is invalid, or their dimensions differ.
    """
    real = check_features("real_features", real)
    generated = check_features("generated_features", generated)
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            "`real_features` and `generated_features` must have the same number of features. "
            f"Received: shapes {real.shape} and {generated.shape}"
        )
    return real, generated


def check_count(features: tuple[np.ndarray, np.ndarray], at_least: int, why: str) -> None:
    """Checks that both sets have at least `at_least` images.

    Raises:
        ValueError: If either set has fewer; the message gives the reason `why`.
    """
    if min(map(len, features)) < at_least:
        real, generated = map(len, features)
        raise ValueError(
            f"Both sets must have at least {at_least} images, {why}. Received: {real} real and "
            f"{generated} generated images"
        )
