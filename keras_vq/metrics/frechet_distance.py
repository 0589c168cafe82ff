"""Fréchet distance of two sets of features; on Inception's, the FID."""

from typing import Any

import numpy as np

from keras_vq.metrics._features import check_both, check_count

# Rows taken in together: bounds the memory.
_ROWS = 4096


def frechet_distance(real_features: Any, generated_features: Any) -> float:
    """Fréchet distance of the Gaussians with the means and covariances of two sets of features.

    |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½), in the square of the features' unit: 0 where the means
    and covariances are equal, and less is better.

    It is called FID when the features are those of the Inception network of Heusel et al.; on the
    features of another network it is another figure, and should be given with the network's name.
    Either way it compares only with figures on as many images: means and covariances are
    estimates, and with fewer images the distance comes out larger (Chong and Forsyth,
    "Effectively Unbiased FID and Inception Score and where to find them", 2020). 10,000 to 50,000
    are usual; for fewer, `kernel_distance` has no such bias.

    Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
    Equilibrium", 2017.

    Args:
        real_features: Array of shape `(n, dim)`, from `image_features`.
        generated_features: Array of shape `(m, dim)`, from the same network.

    Returns:
        The distance, at least 0.

    Raises:
        ValueError: If the features are not finite and of those shapes, or either set has no more
            images than features, so that its covariance would be singular.

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
        f"one more than the {dim} features, for a covariance of full rank; `kernel_distance` takes "
        "fewer",
    )
    (mean_1, root_1), (mean_2, root_2) = _gaussian(real), _gaussian(generated)
    # With Σ = RᵀR, Σ₁Σ₂ has as eigenvalues the squares of the singular values of R₁R₂ᵀ: the trace
    # of its root without a root of matrices, nor of eigenvalues that are rounding.
    trace = np.linalg.svd(root_1 @ root_2.T, compute_uv=False).sum()
    variances = np.square(root_1).sum() + np.square(root_2).sum()
    return float(max(np.square(mean_1 - mean_2).sum() + variances - 2.0 * trace, 0.0))


def _gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the rows, and a triangular R with RᵀR their covariance, in double precision."""
    mean = features.mean(axis=0, dtype="float64")
    root: Any = np.empty((0, features.shape[1]))
    for start in range(0, len(features), _ROWS):
        rows = features[start : start + _ROWS] - mean
        root = np.linalg.qr(np.concatenate([root, rows]), mode="r")
    return mean, root / np.sqrt(len(features) - 1)
