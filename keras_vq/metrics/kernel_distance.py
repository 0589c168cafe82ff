"""Kernel distance of two sets of features; on Inception's, the KID."""

from typing import Any

import numpy as np

from keras_vq import _validation
from keras_vq.metrics._features import check_both, check_count

# Rows of a matrix of kernels at a time: bounds the memory.
_ROWS = 1024


def kernel_distance(
    real_features: Any,
    generated_features: Any,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int | None = 0,
) -> tuple[float, float]:
    """Squared maximum mean discrepancy of two sets of features, with the kernel (x·y / dim + 1)³.

    The unbiased estimate, of subsets drawn without replacement from each set: its expectation is
    the same for any number of images, and 0 for two sets of one distribution, so that a figure
    may fall a little below 0. No unit; less is better. Figures are often given times 1,000.

    It is called KID when the features are those of Inception; on the features of another network
    it is another figure, and should be given with the network's name.

    Source: Bińkowski et al., "Demystifying MMD GANs", 2018.

    Args:
        real_features: Array of shape `(n, dim)`, from `image_features`.
        generated_features: Array of shape `(m, dim)`, from the same network.
        subsets: Number of subsets.
        subset_size: Images of each set in a subset, at least 2 and at most those there are.
        seed: Seed of the draw; None draws other subsets each time.

    Returns:
        Mean and standard deviation over the subsets. The deviation is that of one subset's
        estimate; subsets share images, so it does not shrink with their number as a standard
        error would.

    Raises:
        ValueError: If the features are not finite and of those shapes, or either set has fewer
            images than a subset.

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
    check_count(features, subset_size, "those of a subset: lower `subset_size`")
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
    """The unbiased estimate from two sets of as many vectors."""
    n = len(x)
    within = sum(_sum_of_kernels(own, own) - _kernel(np.square(own).sum(1), own) for own in (x, y))
    return within / (n * (n - 1)) - 2.0 * _sum_of_kernels(x, y) / n**2


def _sum_of_kernels(x: np.ndarray, y: np.ndarray) -> float:
    """Sum over all pairs."""
    return sum(_kernel(x[start : start + _ROWS] @ y.T, x) for start in range(0, len(x), _ROWS))


def _kernel(products: np.ndarray, vectors: np.ndarray) -> float:
    """Sum of the kernels of pairs of which the scalar products are given."""
    # A product of two, as powers of arrays are slow.
    kernels = products / vectors.shape[1] + 1.0
    return float((kernels * kernels * kernels).sum())
