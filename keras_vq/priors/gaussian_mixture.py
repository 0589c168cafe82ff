"""Gaussian mixture prior over continuous latents."""

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
    """Gaussian mixture model (GMM) with full covariances, as a prior over continuous latents.

    The latents of training images rarely fill the standard normal prior of a VAE, and an
    autoencoder has no prior. Samples from regions without training latents decode to poor images.
    A mixture fitted after training approximates the distribution of the latents (ex-post density
    estimation).

    Fit the mixture to the decoder inputs of training. For a VAE these are
    `vae.sample_latents(images)`, samples from the posteriors. A mixture of the posterior means
    would be too narrow by the posterior variance: an unused latent dimension has mean 0 for every
    image, while the decoder expects samples from N(0, 1). For an autoencoder, use
    `autoencoder.encode(images)`.

    The fitted arrays are `weights` of shape `(components,)`, `means` of shape `(components, dim)`
    and `covariances` of shape `(components, dim, dim)`, in float64, and `latent_shape`. They are
    None before `fit`. `dim` is the number of values in the latents of one image, also for a latent
    map.

    Source: Ghosh et al., "From Variational to Deterministic Autoencoders", 2020. Fitting uses the
    expectation-maximization (EM) algorithm of scikit-learn.

    Args:
        n_components: Integer. Number of Gaussians. With 1, the mean and covariance of all latents.
            Defaults to 10.
        seed: Integer. Seed of the initialization in `fit`. Defaults to None.

    Raises:
        ValueError: If `n_components` is not an integer of at least 1.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> encoder, decoder = keras_vq.networks.dense(
        ...     (8, 8, 1), units=(32,), latent_dim=None, output_activation="sigmoid"
        ... )
        >>> vae = keras_vq.VAE(encoder, decoder, latent_dim=4)
        >>> prior = keras_vq.priors.GaussianMixturePrior(n_components=2, seed=0)
        >>> prior = prior.fit(vae.sample_latents(images, seed=0))
        >>> prior.generate(5, seed=0).shape
        (5, 4)
        >>> vae.generate(5, prior=prior, seed=0).shape
        (5, 8, 8, 1)
    """

    def __init__(self, n_components: int = 10, seed: int | None = None) -> None:
        self.n_components = _validation.check_positive_integer("n_components", n_components)
        self.seed = seed
        self.weights: np.ndarray | None = None
        self.means: np.ndarray | None = None
        self.covariances: np.ndarray | None = None
        self.latent_shape: tuple[int, ...] | None = None

    def fit(self, latents: Any) -> Self:
        """Fits the mixture to latents by expectation-maximization (EM), initialized by k-means.

        Args:
            latents: Float array of shape `(n, ...)`. n should be much larger than components · dim.

        Returns:
            The prior itself.

        Raises:
            ValueError: If there are fewer latents than components, or if latents are not finite.
        """
        from sklearn.mixture import GaussianMixture

        latents = np.asarray(ops.convert_to_numpy(as_array("latents", latents)))
        if latents.ndim < 2 or 0 in latents.shape or latents.dtype.kind != "f":
            raise ValueError(
                "`latents` must be an array of real numbers of shape (n, ...), as `encode` and "
                f"`sample_latents` give it. Received: shape {latents.shape}, type {latents.dtype}"
            )
        if len(latents) < max(self.n_components, 2):
            raise ValueError(
                f"{self.n_components} components need at least {max(self.n_components, 2)} "
                f"latents: take more images, or fewer components. Received: {len(latents)} latents"
            )
        if not np.isfinite(latents).all():
            raise ValueError("`latents` must be finite. Received: values that are NaN or infinite")
        mixture = GaussianMixture(self.n_components, random_state=self.seed)
        mixture.fit(latents.reshape(len(latents), -1).astype("float64"))
        self.weights, self.means = mixture.weights_, mixture.means_
        self.covariances = mixture.covariances_
        self.latent_shape = latents.shape[1:]
        return self

    def generate(self, n: int, temperature: float = 1.0, seed: int | None = None) -> np.ndarray:
        """Samples latents.

        Args:
            n: Integer. Number of latents.
            temperature: Float of at least 0. Scale of the deviation of a latent from the mean of
                its component; values below 1 give more typical and less varied samples. Defaults to
                1.0.
            seed: Integer. Seed of the samples. Defaults to None.

        Returns:
            Float32 array of shape `(n, *latent_shape)`.

        Raises:
            ValueError: If the prior is not fitted, or an argument is out of range.
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
        """Saves the fitted prior to an `.npz` file, in an atomic write.

        Args:
            path: Path of the file.

        Raises:
            ValueError: If the prior is not fitted.
        """
        weights, means, covariances, latent_shape = self._fitted()
        config = {
            "n_components": self.n_components,
            "seed": self.seed,
            "latent_shape": latent_shape,
        }
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
        """Loads a prior that `save` wrote.

        Untrusted files are safe to load: array sizes are checked before memory is allocated,
        pickled Python objects are rejected, and the arrays must describe a valid mixture.

        Args:
            path: Path of the file.

        Raises:
            ValueError: If the file cannot be read, or does not contain a Gaussian mixture.
        """
        try:
            with open(path, "rb") as file:
                content = _archives.read_arrays(file, (*_ARRAYS, "config"))
            config = _archives.parse_json("config", content["config"].item().encode())
            prior = cls(config["n_components"], config["seed"])
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
    """Checks shapes, data types and values of a prior that was read from a file."""
    weights, means, covariances, latent_shape = prior._fitted()
    n_components, dim = prior.n_components, math.prod(latent_shape)
    for name, array, shape in (
        ("weights", weights, (n_components,)),
        ("means", means, (n_components, dim)),
        ("covariances", covariances, (n_components, dim, dim)),
    ):
        if array.shape != shape or array.dtype != np.float64:
            raise ValueError(
                f"its {name} must be float64 of shape {shape}, not {array.dtype} of shape "
                f"{array.shape}"
            )
        # Latents are float32.
        if not (np.abs(array) <= np.finfo("float32").max).all():
            raise ValueError(f"its {name} hold NaN or infinity, or numbers beyond float32")
    # `numpy.random.Generator.choice` requires a sum of 1.
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
