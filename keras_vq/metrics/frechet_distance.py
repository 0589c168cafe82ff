"""Fréchet distance between two sets of features (FID for Inception features)."""

from typing import Any

import numpy as np

from keras_vq.metrics._features import check_both, check_count

# Rows per block, to bound memory.
_ROWS = 4096


def frechet_distance(real_features: Any, generated_features: Any) -> float:
    """Computes the Fréchet distance between Gaussians fitted to two sets of features.

    |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½) for means μ and covariances Σ. It is 0 for equal means and
    covariances; lower is better.

    The metric is called FID for the features of the Inception network of Heusel et al. For another
    network, report the name of the network. The estimate is biased: it decreases with the number of
    images, so compare only figures for equal numbers of images (Chong and Forsyth, "Effectively
    Unbiased FID and Inception Score and where to find them", 2020). 10,000 to 50,000 images are
    usual. `kernel_distance` is unbiased and suits fewer images.

    Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
    Equilibrium", 2017.

    Args:
        real_features: Array of shape `(n, dim)`, from `image_features`.
        generated_features: Array of shape `(m, dim)`, from the same network.

    Returns:
        Float. The distance, at least 0.

    Raises:
        ValueError: If the features have other shapes or are not finite, or if a set does not have
            more images than features, so that its covariance would be singular.

    Example:
        >>> import numpy as np
        >>> from keras_vq.metrics import frechet_distance
        >>> features = np.random.default_rng(0).normal(size=(100, 4))
        >>> round(frechet_distance(features, features + 0.5), 6)  # 4 · 0.5²
        1.0
    """
    real, generated = features = check_both(real_features, generated_features)
    dim = real.shape[1]
    check_count(
        features,
        dim + 1,
        f"one more than the {dim} features, for a covariance matrix of full rank; "
        "`kernel_distance` requires fewer",
    )
    (mean_1, root_1), (mean_2, root_2) = _gaussian(real), _gaussian(generated)
    # With Σ = RᵀR, the eigenvalues of Σ₁Σ₂ are the squared singular values of R₁R₂ᵀ. This gives the
    # trace of the square root without a matrix square root or negative eigenvalues from rounding.
    trace = np.linalg.svd(root_1 @ root_2.T, compute_uv=False).sum()
    variances = np.square(root_1).sum() + np.square(root_2).sum()
    return float(max(np.square(mean_1 - mean_2).sum() + variances - 2.0 * trace, 0.0))


def _gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes mean and triangular factor R of the covariance RᵀR, in double precision."""
    mean = features.mean(axis=0, dtype="float64")
    root: Any = np.empty((0, features.shape[1]))
    for start in range(0, len(features), _ROWS):
        rows = features[start : start + _ROWS] - mean
        root = np.linalg.qr(np.concatenate([root, rows]), mode="r")
    return mean, root / np.sqrt(len(features) - 1)
