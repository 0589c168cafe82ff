"""Precision and recall of generated images."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_vq import _validation
from keras_vq.metrics._features import check_both, check_count

# Distances held at a time: 128 MiB.
_DISTANCES = 1 << 24


def precision_recall(
    real_features: Any, generated_features: Any, k: int = 3
) -> tuple[float, float]:
    """How many generated images look real, and how many real ones could have been generated.

    A set of images covers the balls around its features that just reach their k-th nearest
    neighbour in the set. Precision is the share of generated images that the real ones cover:
    quality. Recall is the share of real images that the generated ones cover: variety.

    An image that lies apart has a large ball and covers much: a set with many such, as of a model
    that makes all sorts of nonsense, has a recall that is too high (Naeem et al., "Reliable
    Fidelity and Diversity Metrics for Generative Models", 2020). Read the two together, and beside
    a distance.

    Both depend on the number of images, as balls shrink with it: take as many of each, and
    compare figures on as many only. Features of another network than the VGG-16 of the paper give
    other figures, and should be given with the network's name. Memory grows with the number of
    images, time with its square.

    Source: Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative
    Models", 2019.

    Args:
        real_features: Array of shape `(n, dim)`, from `image_features`.
        generated_features: Array of shape `(m, dim)`, from the same network.
        k: Which neighbour the balls reach, the image itself not counted.

    Returns:
        Precision and recall, in [0, 1].

    Raises:
        ValueError: If the features are not finite and of those shapes, or either set has no more
            than k images.

    Example:
        >>> import numpy as np
        >>> from keras_vq.metrics import precision_recall
        >>> real = np.random.default_rng(0).normal(size=(200, 2))
        >>> real[100:] += 50  # two kinds of images, of which one kind is generated
        >>> precision_recall(real, real[:100])
        (1.0, 0.5)
    """
    _validation.check_positive_integer("k", k)
    features = check_both(real_features, generated_features)
    check_count(features, k + 1, f"as each needs {k} neighbours")
    # About one origin, so that differences are not those of large numbers.
    origin = features[0].mean(axis=0, dtype="float64")
    real, generated = (own - origin for own in features)
    return _covered(generated, real, k), _covered(real, generated, k)


def _covered(vectors: np.ndarray, by: np.ndarray, k: int) -> float:
    """Share of the vectors that lie in a ball of another set."""
    radii = _squared_radii(by, k)
    covered = [(distances <= radii).any(axis=1) for _, distances in _blocks(vectors, by)]
    return float(np.concatenate(covered).mean())


def _squared_radii(vectors: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each vector from its k-th nearest neighbour."""
    radii = []
    for start, distances in _blocks(vectors, vectors):
        rows = np.arange(len(distances))
        distances[rows, start + rows] = np.inf
        radii.append(np.partition(distances, k - 1, axis=1)[:, k - 1])
    return np.concatenate(radii)


def _blocks(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Squared distances of some rows of `x` from all of `y`, with the place of the first."""
    squares_x, squares_y = np.square(x).sum(axis=1)[:, None], np.square(y).sum(axis=1)
    # Below this share of the squares a difference is rounding: copies are at distance 0.
    rounding = x.shape[1] * np.finfo("float64").eps
    rows = max(1, _DISTANCES // len(y))
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        squares = squares_x[part] + squares_y
        distances = squares - 2.0 * (x[part] @ y.T)
        distances[distances <= rounding * squares] = 0.0
        yield start, distances
