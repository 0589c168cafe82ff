"""A mixture of Gaussians, fitted to the latents of a trained model."""

import json
import math
import os
from typing import Any, Self

import numpy as np
from keras import ops

from keras_vq import _archives, _validation
from keras_vq._files import whole_file
from keras_vq._inputs import as_array

_ARRAYS = ("weights", "means", "covariances")


class GaussianMixturePrior:
    """Mixture of Gaussians with full covariances, from which latents are drawn.

    The latents of training images hardly ever fill the standard normal distribution of a VAE's
    prior, and those of an autoencoder have no prior at all: draws from where the decoder has
    never been come out badly. A mixture fitted after training says where the latents are.

    Fit it to what the decoder took in training. For a VAE that is `vae.sample_latents(images)`:
    samples of the posteriors, means with noise. A mixture of the means alone would be too narrow,
    by the posteriors' variance: a latent that carries nothing has mean 0 for every image, and the
    mixture would hold it still where the decoder expects the whole of N(0, 1). For an autoencoder
    it is `autoencoder.encode(images)`.

    State: `weights` `(components,)`, `means` `(components, dim)` and `covariances` `(components,
    dim, dim)`, float64, and `latent_shape`; None until `fit`. dim counts all numbers of the
    latents of an image, also of a map.

    Source: Ghosh et al., "From Variational to Deterministic Autoencoders", 2020: ex-post density
    estimation. Expectation maximisation is scikit-learn's.

    Args:
        components: Number of Gaussians. With one, mean and covariance of all latents.
        seed: Seed of the start of `fit`.

    Raises:
        ValueError: If `components` is no whole number of at least 1.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> encoder, decoder = keras_vq.networks.dense(
        ...     (8, 8, 1), units=(32,), latent_dim=None, output_activation="sigmoid"
        ... )
        >>> vae = keras_vq.VAE(encoder, decoder, latent_dim=4)
        >>> prior = keras_vq.priors.GaussianMixturePrior(components=2, seed=0)
        >>> prior = prior.fit(vae.sample_latents(images, seed=0))
        >>> prior.generate(5, seed=0).shape
        (5, 4)
        >>> vae.generate(5, prior=prior, seed=0).shape
        (5, 8, 8, 1)
    """

    def __init__(self, components: int = 10, seed: int | None = None) -> None:
        self.components = _validation.check_positive_integer("components", components)
        self.seed = seed
        self.weights: np.ndarray | None = None
        self.means: np.ndarray | None = None
        self.covariances: np.ndarray | None = None
        self.latent_shape: tuple[int, ...] | None = None

    def fit(self, latents: Any) -> Self:
        """Fits the mixture to latents, by expectation maximisation from a k-means start.

        Args:
            latents: Array of shape `(n, ...)`; n should be many times components · dim.

        Returns:
            The prior itself.

        Raises:
            ValueError: If the latents are fewer than the components, or not finite.
        """
        from sklearn.mixture import GaussianMixture

        latents = np.asarray(ops.convert_to_numpy(as_array("latents", latents)))
        if latents.ndim < 2 or 0 in latents.shape or latents.dtype.kind != "f":
            raise ValueError(
                "`latents` must be an array of real numbers of shape (n, ...), as `encode` and "
                f"`sample_latents` give it. Received: shape {latents.shape}, type {latents.dtype}"
            )
        if len(latents) < max(self.components, 2):
            raise ValueError(
                f"{self.components} components need at least {max(self.components, 2)} latents: "
                f"take more images, or fewer components. Received: {len(latents)} latents"
            )
        if not np.isfinite(latents).all():
            raise ValueError("`latents` must be finite. Received: values that are NaN or infinite")
        mixture = GaussianMixture(self.components, random_state=self.seed)
        mixture.fit(latents.reshape(len(latents), -1).astype("float64"))
        self.weights, self.means = mixture.weights_, mixture.means_
        self.covariances = mixture.covariances_
        self.latent_shape = latents.shape[1:]
        return self

    def generate(self, n: int, temperature: float = 1.0, seed: int | None = None) -> np.ndarray:
        """Draws latents.

        Args:
            n: Number of latents.
            temperature: By what the deviation of a latent from the mean of its component is
                multiplied, at least 0: below 1, draws are more typical and less varied.
            seed: Seed of the draw.

        Returns:
            Float32 array of shape `(n, *latent_shape)`.

        Raises:
            ValueError: If the prior is not fitted yet, or an argument is out of its range.
        """
        _validation.check_positive_integer("n", n)
        _validation.check_not_negative("temperature", temperature)
        weights, means, covariances, latent_shape = self._fitted()
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(weights), size=n, p=weights)
        noise = rng.standard_normal((n, means.shape[1]))
        latents = np.empty_like(noise)
        for component, (mean, covariance) in enumerate(zip(means, covariances, strict=True)):
            own = chosen == component
            latents[own] = mean + temperature * noise[own] @ np.linalg.cholesky(covariance).T
        return latents.reshape(n, *latent_shape).astype("float32")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the fitted prior to a `.npz` file, which is there whole or not at all.

        Args:
            path: The file.

        Raises:
            ValueError: If the prior is not fitted yet.
        """
        weights, means, covariances, latent_shape = self._fitted()
        config = {"components": self.components, "seed": self.seed, "latent_shape": latent_shape}
        with whole_file(path) as beside, open(beside, "wb") as file:
            np.savez(
                file,
                weights=weights,
                means=means,
                covariances=covariances,
                config=np.array(json.dumps(config)),
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Loads the prior that `save` wrote.

        The file may come from a stranger: sizes are checked before arrays are allocated, Python
        objects are refused, and the values must be those of a mixture.

        Args:
            path: The file.

        Raises:
            ValueError: If it is no such file, or its arrays are not a mixture of Gaussians.
        """
        try:
            with open(path, "rb") as file:
                content = _archives.read_arrays(file, (*_ARRAYS, "config"))
            config = _archives.parse_json("config", content["config"].item().encode())
            prior = cls(config["components"], config["seed"])
            prior.latent_shape = _checked_shape(config["latent_shape"])
            arrays = (content[name] for name in _ARRAYS)
            prior.weights, prior.means, prior.covariances = arrays
            _check_mixture(prior)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                "`path` must be a file that `GaussianMixturePrior.save` wrote, whole. "
                f"Received: {os.fspath(path)!r} ({error})"
            ) from error
        return prior

    def _fitted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
        if (
            self.weights is None
            or self.means is None
            or self.covariances is None
            or self.latent_shape is None
        ):
            raise ValueError(
                "The prior must be fitted first: call `fit` on latents of training images. "
                "Received: an unfitted GaussianMixturePrior"
            )
        return self.weights, self.means, self.covariances, self.latent_shape


def _checked_shape(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, list) or not sizes:
        raise ValueError(f"its latent shape is {sizes!r}")
    return tuple(_validation.check_positive_integer("latent_shape[...]", size) for size in sizes)


def _check_mixture(prior: GaussianMixturePrior) -> None:
    """Checks shapes, types and values of a prior that was read from a file."""
    weights, means, covariances, latent_shape = prior._fitted()
    components, dim = prior.components, math.prod(latent_shape)
    for name, array, shape in (
        ("weights", weights, (components,)),
        ("means", means, (components, dim)),
        ("covariances", covariances, (components, dim, dim)),
    ):
        if array.shape != shape or array.dtype != np.float64:
            raise ValueError(
                f"its {name} must be float64 of shape {shape}, not {array.dtype} of shape "
                f"{array.shape}"
            )
        # Latents are float32.
        if not (np.abs(array) <= np.finfo("float32").max).all():
            raise ValueError(f"its {name} hold NaN or infinity, or numbers beyond float32")
    # What NumPy asks of probabilities.
    if not (weights > 0).all() or abs(float(weights.sum()) - 1.0) > 1e-8:
        raise ValueError("its weights must be positive and sum to 1")
    for index, covariance in enumerate(covariances):
        scale = float(np.abs(covariance).max())
        if not np.allclose(covariance, covariance.T, rtol=0.0, atol=1e-8 * scale):
            raise ValueError(f"its covariance {index} is not symmetric")
        try:
            np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError as error:
            raise ValueError(f"its covariance {index} is not positive definite") from error
