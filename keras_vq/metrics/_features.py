"""Checks of features, as the measures of generated images take them."""

from typing import Any

import numpy as np
from keras import ops


def check_features(name: str, features: Any) -> np.ndarray:
    """The features of a set of images as an array.

    Args:
        name: What to call the argument in messages.
        features: Array or tensor of shape `(n, dim)`.

    Raises:
        ValueError: If it has another shape, or holds NaN or infinity.
    """
    if ops.is_tensor(features):
        features = ops.convert_to_numpy(features)
    features = np.asarray(features)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            f"`{name}` must be features of shape (n, dim), a row for each image: give the network "
            f"a global pooling, or flatten what it makes. Received: shape {features.shape}"
        )
    if features.dtype.kind not in "fiu":
        raise ValueError(f"`{name}` must hold real numbers. Received: type {features.dtype}")
    bad = int((~np.isfinite(features)).sum())
    if bad:
        raise ValueError(
            f"`{name}` must be finite: one NaN or infinity would spoil the whole figure. "
            f"Received: {bad} values that are not"
        )
    return features


def check_both(real: Any, generated: Any) -> tuple[np.ndarray, np.ndarray]:
    """The features of both sets, which must be those of one network.

    Raises:
        ValueError: If either is not right, or they differ in dimension.
    """
    real = check_features("real_features", real)
    generated = check_features("generated_features", generated)
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            "`real_features` and `generated_features` must be those of one network, with as many "
            f"features. Received: shapes {real.shape} and {generated.shape}"
        )
    return real, generated


def check_count(features: tuple[np.ndarray, np.ndarray], at_least: int, why: str) -> None:
    """Checks that both sets have enough images.

    Raises:
        ValueError: If either has too few; the message says why it needs them.
    """
    if min(map(len, features)) < at_least:
        real, generated = map(len, features)
        raise ValueError(
            f"Both sets must have at least {at_least} images, {why}. Received: {real} real and "
            f"{generated} generated ones"
        )
