"""Kernel distance between two sets of features (KID for Inception features)."""

from typing import Any

import numpy as np

from keras_vq import _validation
from keras_vq.metrics._features import check_both, check_count

# Rows of the kernel matrix per block, to bound memory.
_ROWS = 1024


def kernel_distance(
    real_features: Any,
    generated_features: Any,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int | None = 0,
) -> tuple[float, float]:
    """Computes the squared maximum mean discrepancy with the kernel (x·y / dim + 1)³.

    Averages the unbiased estimate over subsets sampled without replacement from each set. Its
    expectation does not depend on the number of images and is 0 for equal distributions, so results
    can be slightly negative. Lower is better. Papers often report the value times 1,000.

    The metric is called KID for Inception features. For another network, report the name of the
    network.

    Source: Bińkowski et al., "Demystifying MMD GANs", 2018.

    Args:
        real_features: Array of shape `(n, dim)`, from `image_features`.
        generated_features: Array of shape `(m, dim)`, from the same network.
        subsets: Integer. Number of subsets. Defaults to 100.
        subset_size: Integer, at least 2. Number of images of each set per subset. Defaults to 1000.
        seed: Integer. Seed of the subsets, or None for other subsets in each call. Defaults to 0.

    Returns:
        Tuple of floats: mean and standard deviation over subsets. The standard deviation is that of
        a single estimate. It does not decrease with the number of subsets, because they overlap.

    Raises:
        ValueError: If the features have other shapes or are not finite, if a set has fewer images
            than a subset, or if `subsets` or `subset_size` is invalid.

    Example:
        >>> import numpy as np
        >>> from keras_vq.metrics import kernel_distance
        >>> features = np.random.default_rng(0).normal(size=(400, 4))
        >>> mean, deviation = kernel_distance(features[:200], features[200:] + 1, 10, 100)
        >>> mean > 3 * deviation > 0
        True
    """
    features = check_both(real_features, generated_features)
    _validation.check_positive_integer("subsets", subsets)
    if _validation.check_positive_integer("subset_size", subset_size) < 2:
        raise ValueError(f"`subset_size` must be at least 2. Received: {subset_size}")
    check_count(features, subset_size, "the size of a subset; decrease `subset_size`")
    rng = np.random.default_rng(seed)
    distances = []
    for _ in range(subsets):
        x, y = (
            own[rng.choice(len(own), subset_size, replace=False)].astype("float64")
            for own in features
        )
        distances.append(_squared_mmd(x, y))
    return float(np.mean(distances)), float(np.std(distances))


def _squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Computes the unbiased estimate for two sets of equal size."""
    n = len(x)
    within = sum(_sum_of_kernels(own, own) - _kernel(np.square(own).sum(1), own) for own in (x, y))
    return within / (n * (n - 1)) - 2.0 * _sum_of_kernels(x, y) / n**2


def _sum_of_kernels(x: np.ndarray, y: np.ndarray) -> float:
    """Sums the kernel over all pairs."""
    return sum(_kernel(x[start : start + _ROWS] @ y.T, x) for start in range(0, len(x), _ROWS))


def _kernel(products: np.ndarray, vectors: np.ndarray) -> float:
    """Sums the kernel of pairs from their scalar products."""
    # Multiplication, because powers of arrays are slow.
    kernels = products / vectors.shape[1] + 1.0
    return float((kernels * kernels * kernels).sum())
