"""Gaussian mixture prior over continuous latents."""

import inspect
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq._extras import require
from keras_vq._inputs import as_array
from keras_vq._model import Model
from keras_vq._types import Tensor

_ARRAYS = ("mixture_weights", "means", "covariances")


@keras.saving.register_keras_serializable("keras_vq")
class GaussianMixturePrior(Model):
    """Gaussian mixture model (GMM) with full covariances, as a prior over continuous latents.

    The latents of training inputs rarely fill the standard normal prior of a VAE, and an
    autoencoder has no prior. Samples from regions without training latents decode to poor results.
    A mixture fitted after training approximates the distribution of the latents (ex-post density
    estimation).

    Fit the mixture to the decoder inputs of training. For a VAE these are
    `vae.sample_latents(inputs)`, samples from the posteriors. A mixture of the posterior means
    would be too narrow by the posterior variance: an unused latent dimension has mean 0 for every
    input, while the decoder expects samples from N(0, 1). For an autoencoder, use
    `autoencoder.encode(inputs)`.

    The fitted arrays are `mixture_weights` of shape `(n_components,)`, `means` of shape
    `(n_components, dim)` and `covariances` of shape `(n_components, dim, dim)`, in float64, and
    `latent_shape`. They are `None` before `fit`. `dim` is the number of values in the latents of
    one input, also for a latent map. `save` and `keras_vq.load_model` store them in a `.keras`
    file.

    `fit(x)` takes latents of shape `(n, ...)`, where n should be much larger than `n_components` ·
    dim, and uses all of them at once, until convergence. Its other arguments must keep their
    defaults. The history has one entry, `loss`: the mean negative log density of the latents, in
    nats.

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
        >>> history = prior.fit(vae.sample_latents(images, seed=0))
        >>> prior.generate(5, seed=0).shape
        (5, 4)
        >>> vae.generate(5, prior=prior, seed=0).shape
        (5, 8, 8, 1)
    """

    def __init__(self, n_components: int = 10, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_components = _validation.check_positive_integer("n_components", n_components)
        self.seed = seed
        self.mixture_weights: np.ndarray | None = None
        self.means: np.ndarray | None = None
        self.covariances: np.ndarray | None = None
        self.latent_shape: tuple[int, ...] | None = None
        self.built = True  # The arrays are not Keras weights, which are float32 on JAX.

    def call(self, latents: Tensor, training: bool | None = None) -> Tensor:
        """Computes the log density of latents in nats, `(n, ...)` -> `(n,)`."""
        del training
        weights, means, covariances, latent_shape = self._fitted()
        dim = math.prod(latent_shape)
        flat = ops.reshape(ops.cast(latents, "float32"), (-1, 1, dim))
        factors = np.linalg.inv(np.linalg.cholesky(covariances))
        whitened = ops.einsum(
            "nkd,ked->nke", flat - ops.cast(means, "float32"), ops.cast(factors, "float32")
        )
        log_scales = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        constants = np.log(weights) + log_scales - 0.5 * dim * math.log(2 * math.pi)
        densities = ops.cast(constants, "float32") - 0.5 * ops.sum(ops.square(whitened), axis=-1)
        return ops.logsumexp(densities, axis=-1)

    def _run_fit(self, arguments: dict[str, Any]) -> keras.callbacks.History:
        """Fits the mixture to latents by expectation-maximization (EM), initialized by k-means.

        Raises:
            ValueError: If there are fewer latents than components, latents are not finite, or
                another argument is given.
        """
        x = arguments["x"]
        for name, parameter in inspect.signature(self.fit).parameters.items():
            value, default = arguments[name], parameter.default
            is_default = value is default or (isinstance(value, int | float) and value == default)
            if name not in ("x", "verbose") and not is_default:
                raise ValueError(
                    f"`{name}` must be {default}, because a GaussianMixturePrior is fitted to "
                    f"all latents at once. Received: {name}={value!r}"
                )
        require(("sklearn",), "sklearn", "Fitting a GaussianMixturePrior")
        from sklearn.mixture import GaussianMixture

        latents = np.asarray(ops.convert_to_numpy(as_array("x", x)))
        if latents.ndim < 2 or 0 in latents.shape or latents.dtype.kind != "f":
            raise ValueError(
                "`x` must be an array of real numbers of shape (n, ...), as returned by `encode` "
                f"and `sample_latents`. Received: shape {latents.shape}, type {latents.dtype}"
            )
        if len(latents) < max(self.n_components, 2):
            raise ValueError(
                f"`x` must have at least {max(self.n_components, 2)} latents for "
                f"{self.n_components} components. Pass more latents, or decrease `n_components`. "
                f"Received: {len(latents)} latents"
            )
        if not np.isfinite(latents).all():
            raise ValueError("`x` must be finite. Received: values that are NaN or infinite")
        mixture = GaussianMixture(self.n_components, random_state=self.seed)
        flat = latents.reshape(len(latents), -1).astype("float64")
        mixture.fit(flat)
        self.mixture_weights, self.means = mixture.weights_, mixture.means_
        self.covariances = mixture.covariances_
        self.latent_shape = latents.shape[1:]
        history = keras.callbacks.History()
        history.set_model(self)
        history.on_train_begin()
        history.on_epoch_end(0, {"loss": -float(mixture.score(flat))})
        return history

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

    def save_own_variables(self, store: Any) -> None:
        """Saves the fitted arrays.

        Raises:
            ValueError: If the prior is not fitted.
        """
        *arrays, latent_shape = self._fitted()
        for name, array in zip(_ARRAYS, arrays, strict=True):
            store[name] = array
        store["latent_shape"] = np.array(latent_shape)

    def load_own_variables(self, store: Any) -> None:
        """Loads the arrays written by `save_own_variables`.

        Raises:
            ValueError: If they do not describe a Gaussian mixture.
        """
        self.latent_shape = tuple(int(size) for size in np.asarray(store["latent_shape"]))
        self.mixture_weights, self.means, self.covariances = (
            np.asarray(store[name]) for name in _ARRAYS
        )
        _check_mixture(self)

    def _fitted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
        if (
            self.mixture_weights is None
            or self.means is None
            or self.covariances is None
            or self.latent_shape is None
        ):
            raise ValueError(
                "The prior must be fitted. Call `fit` with latents of training inputs. "
                "Received: an unfitted GaussianMixturePrior"
            )
        return self.mixture_weights, self.means, self.covariances, self.latent_shape


def _check_mixture(prior: GaussianMixturePrior) -> None:
    """Checks shapes, data types and values of a prior that was read from a file."""
    weights, means, covariances, latent_shape = prior._fitted()
    n_components, dim = prior.n_components, math.prod(latent_shape)
    for name, array, shape in (
        ("mixture_weights", weights, (n_components,)),
        ("means", means, (n_components, dim)),
        ("covariances", covariances, (n_components, dim, dim)),
    ):
        if array.shape != shape or array.dtype != np.float64:
            raise ValueError(
                f"{name} must be float64 of shape {shape}, not {array.dtype} of shape {array.shape}"
            )
        # Latents are float32.
        if not (np.abs(array) <= np.finfo("float32").max).all():
            raise ValueError(f"{name} must be finite and in the range of float32")
    # `numpy.random.Generator.choice` requires a sum of 1.
    if not (weights > 0).all() or abs(float(weights.sum()) - 1.0) > 1e-8:
        raise ValueError("the mixture weights must be positive and sum to 1")
    for index, covariance in enumerate(covariances):
        scale = float(np.abs(covariance).max())
        if not np.allclose(covariance, covariance.T, rtol=0.0, atol=1e-8 * scale):
            raise ValueError(f"covariance {index} is not symmetric")
        try:
            np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError as error:
            raise ValueError(f"covariance {index} is not positive definite") from error
