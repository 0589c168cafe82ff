"""Precision and recall of generated images."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_vq import _validation
from keras_vq.metrics._features import check_both, check_count

# Number of distances per block (128 MiB).
_DISTANCES = 1 << 24


def precision_recall(
    real_features: Any, generated_features: Any, k: int = 3
) -> tuple[float, float]:
    """Computes improved precision and recall of generated images.

    The manifold of a set is the union of balls around its features, each with the distance to the
    k-th nearest neighbor in the set as radius. Precision is the fraction of generated images on the
    manifold of the real images (quality). Recall is the fraction of real images on the manifold of
    the generated images (diversity).

    Outliers have large balls, so a model that generates many outliers gets a recall that is too
    high (Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", 2020).
    Report both values together with a distance.

    Both values depend on the number of images. Use equal numbers of real and generated images, and
    compare only results for the same number. Features of a network other than the VGG-16 of the
    paper give other values; report the name of the network. Memory is linear and time quadratic in
    the number of images.

    Source: Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative
    Models", 2019.

    Args:
        real_features: Array of shape `(n, dim)`, from `image_features`.
        generated_features: Array of shape `(m, dim)`, from the same network.
        k: Integer. Number of nearest neighbors, excluding the image itself. Defaults to 3.

    Returns:
        Tuple of floats: precision and recall, in [0, 1].

    Raises:
        ValueError: If the features have other shapes or are not finite, or if a set does not have
            more than k images.

    Example:
        >>> import numpy as np
        >>> from keras_vq.metrics import precision_recall
        >>> real = np.random.default_rng(0).normal(size=(200, 2))
        >>> real[100:] += 50  # Two clusters, one of which is generated.
        >>> precision_recall(real, real[:100])
        (1.0, 0.5)
    """
    _validation.check_positive_integer("k", k)
    features = check_both(real_features, generated_features)
    check_count(features, k + 1, f"because each requires {k} neighbors")
    # Center the features to avoid cancellation.
    origin = features[0].mean(axis=0, dtype="float64")
    real, generated = (own - origin for own in features)
    return _covered(generated, real, k), _covered(real, generated, k)


def _covered(vectors: np.ndarray, by: np.ndarray, k: int) -> float:
    """Computes the fraction of vectors on the manifold of another set."""
    radii = _squared_radii(by, k)
    covered = [(distances <= radii).any(axis=1) for _, distances in _blocks(vectors, by)]
    return float(np.concatenate(covered).mean())


def _squared_radii(vectors: np.ndarray, k: int) -> np.ndarray:
    """Computes the squared distance of each vector to its k-th nearest neighbor."""
    radii = []
    for start, distances in _blocks(vectors, vectors):
        rows = np.arange(len(distances))
        distances[rows, start + rows] = np.inf
        radii.append(np.partition(distances, k - 1, axis=1)[:, k - 1])
    return np.concatenate(radii)


def _blocks(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields blocks of squared distances between `x` and `y`, with the first row index."""
    squares_x, squares_y = np.square(x).sum(axis=1)[:, None], np.square(y).sum(axis=1)
    # Differences below this fraction of the squares are rounding errors: duplicates have distance
    # 0.
    rounding = x.shape[1] * np.finfo("float64").eps
    rows = max(1, _DISTANCES // len(y))
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        squares = squares_x[part] + squares_y
        distances = squares - 2.0 * (x[part] @ y.T)
        distances[distances <= rounding * squares] = 0.0
        yield start, distances
