"""Variational autoencoder (VAE) with Gaussian latents."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_vq import _validation
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.layers.gaussian_sampling import GaussianSampling
from keras_vq.losses.bernoulli import BernoulliNegativeLogLikelihood
from keras_vq.models._batches import first_targets
from keras_vq.models._data_checks import last_layer
from keras_vq.models._draws import draw_latents
from keras_vq.models.base import ReconstructionModel

# Limit of `beta` without a warning, as a multiple of 1 / (number of values), at which a mean
# squared error and the KL divergence are balanced as in the ELBO of values with variance 1/2.
_GREATEST_BETA_OF_A_MEAN = 10.0


class PosteriorCollapseWarning(UserWarning):
    """Warning of a VAE loss in which the KL divergence far outweighs the reconstruction term.

    Example:
        >>> import warnings, keras_vq
        >>> # Stop such a run:
        >>> warnings.simplefilter("error", keras_vq.models.PosteriorCollapseWarning)
    """


@keras.saving.register_keras_serializable("keras_vq")
class VAE(ReconstructionModel):
    """Variational autoencoder (VAE): encodes inputs to Gaussian posteriors and decodes samples.

    The loss is the negative evidence lower bound (ELBO) in nats per input, -log p(x|z) + β
    KL(q(z|x) ‖ N(0, I)). The reconstruction term is summed over values, the KL divergence over
    latents, and both are averaged over inputs. Sources: Kingma and Welling, "Auto-Encoding
    Variational Bayes", 2013; β: Higgins et al., "beta-VAE", 2017; KL warm-up: Sønderby et al.,
    "Ladder Variational Autoencoders", 2016; free bits: Kingma et al., "Improving Variational
    Inference with Inverse Autoregressive Flow", 2016.

    Logs report the unweighted KL divergence as `kl_loss`. `call` samples the latents in evaluation
    too, so that the evaluation loss is an estimate of the bound; `encode` and `reconstruct` use the
    posterior mean and are deterministic.

    State that changes in training: `steps`, the step counter of the KL warm-up. The state of the
    random generator changes in every forward pass.

    Args:
        encoder: Layer or model that maps inputs to features of shape `(batch, ..., channels)`. The
            VAE itself projects the features to means and log-variances, so the encoder must not end
            with a projection: pass `latent_dim=None` to the builders of `keras_vq.networks`.
        decoder: Layer or model that maps latents to reconstructions, with values in [0, 1] for the
            default loss.
        latent_dim: Integer. Number of latents, per position if the features are a map.
        beta: Float, at least 0. Weight β of the KL divergence. With a `loss` of `compile` that is a
            mean over the values of an input, such as `"mse"`, use about 1 / (number of values);
            `fit` issues a `PosteriorCollapseWarning` if `beta` is far above. Defaults to 1.
        kl_warmup_steps: Integer. Number of training steps over which the weight of the KL
            divergence rises linearly from 0 to β. Defaults to 0.
        free_bits: Float, at least 0. Minimum of the KL divergence of each latent in the loss, in
            nats, averaged over the batch. A latent below it gets no gradient from the KL term,
            which prevents posterior collapse. Defaults to 0.
        seed: Integer or `None`. Seed of the samples. Defaults to `None`.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: Float tensor of shape `(batch, ...)`.

    Returns:
        A dictionary with `reconstruction`, `mean`, `log_variance` and `latents` (the
        sample).

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> encoder, decoder = keras_vq.networks.dense(
        ...     (8, 8, 1), units=(32,), latent_dim=None, output_activation="sigmoid"
        ... )
        >>> model = keras_vq.VAE(encoder, decoder, latent_dim=4)
        >>> model.compile("adam")
        >>> history = model.fit(images, epochs=1, verbose=0)
        >>> sorted(history.history)
        ['kl_loss', 'loss', 'reconstruction_loss']
        >>> model.generate(5, seed=1).shape
        (5, 8, 8, 1)
    """

    _loss_names = ("reconstruction_loss", "kl_loss")
    beta = Hyperparameter(_validation.check_not_negative)
    kl_warmup_steps = Hyperparameter(_validation.check_count)
    free_bits = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        encoder: keras.Layer,
        decoder: keras.Layer,
        latent_dim: int,
        beta: float = 1.0,
        kl_warmup_steps: int = 0,
        free_bits: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, decoder, **kwargs)
        self.latent_dim = _validation.check_positive_integer("latent_dim", latent_dim)
        self.beta = beta
        self.kl_warmup_steps = kl_warmup_steps
        self.free_bits = free_bits
        self.seed = seed
        # float32, because the exponential of a log-variance overflows in half precision.
        self.mean = layers.Dense(self.latent_dim, dtype="float32", name="mean")
        self.log_variance = layers.Dense(self.latent_dim, dtype="float32", name="log_variance")
        self.sampling = GaussianSampling(seed, dtype="float32")
        self._build_if_known()

    def _build_parts(self, input_shape: Shape) -> None:
        """Builds all parts for batches of inputs of shape `input_shape`."""
        features_shape = self._build_encoder(input_shape)
        self.mean.build(features_shape)
        self.log_variance.build(features_shape)
        latent_shape = (*features_shape[:-1], self.latent_dim)
        self._build_decoder(latent_shape)
        self.latent_shape = latent_shape[1:]
        self.steps = self.add_weight(
            name="steps", initializer="zeros", trainable=False, dtype="float32", autocast=False
        )

    def call(self, inputs: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Reconstructs a batch of inputs from samples of their posteriors."""
        features = self.encoder(inputs, training=training)
        mean, log_variance = self.mean(features), self.log_variance(features)
        z = self.sampling(mean, log_variance)
        x_hat = self.decoder(z, training=training)
        if training:
            self.steps.assign(self.steps + 1.0)
        return {
            "reconstruction": x_hat,
            "mean": mean,
            "log_variance": log_variance,
            "latents": z,
        }

    def _default_loss(self) -> keras.losses.Loss:
        """Returns the Bernoulli negative log-likelihood, summed over values."""
        return BernoulliNegativeLogLikelihood()

    def _prepare_fit(self, x: Any, y: Any) -> None:
        """Warns if the encoder ends with a projection, or the loss may cause posterior collapse."""
        super()._prepare_fit(x, y)
        self._warn_of_mean_loss(x, y)
        last = last_layer(self.encoder)
        width = getattr(last, "units", getattr(last, "filters", None))
        is_linear = getattr(last, "activation", None) is keras.activations.linear
        kernel_sizes = set(getattr(last, "kernel_size", (1,)))
        if width == self.latent_dim and is_linear and kernel_sizes == {1}:
            warnings.warn(
                f"The encoder ends with a linear projection to {width} features, and the VAE adds "
                "another projection to means and log-variances. The first projection discards "
                "information for the log-variances. Build the networks with `latent_dim=None`, and "
                "pass `latent_dim` only to the VAE.",
                stacklevel=4,
            )

    def _warn_of_mean_loss(self, x: Any, y: Any) -> None:
        """Warns if the loss is a mean over values and `beta` is not scaled down accordingly."""
        losses = [] if self.loss is None else keras.tree.flatten(self.loss)
        means = [loss for loss in losses if _is_mean_over_values(loss)]
        target = first_targets(x, y, batches=1) if means else None
        shape = (None, *(self._example_shape or ())) if target is None else target.shape
        if not means or None in shape[1:]:
            return
        values = math.prod(shape[1:])
        if self.beta * values > _GREATEST_BETA_OF_A_MEAN:
            name = getattr(means[0], "name", getattr(means[0], "__name__", means[0]))
            warnings.warn(
                f"The loss {name!r} is a mean over the {values:,} values of an input, and the KL "
                f"divergence is a sum over latents, weighted by beta={self.beta:g}: the KL "
                "divergence outweighs the reconstruction, and the latents collapse to the prior. "
                "Compile without `loss` for the default Bernoulli likelihood of values in [0, 1], "
                "or with a loss that sums over the values of an input, or set "
                f"`beta` to about {1 / values:.2g}, the inverse of the number of values.",
                PosteriorCollapseWarning,
                stacklevel=5,
            )

    def _loss_terms(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Computes the unweighted KL divergence from the prior, in nats per input."""
        return {"kl_loss": ops.sum(_kl_per_latent(outputs["mean"], outputs["log_variance"]))}

    def _latent_loss(self, outputs: dict[str, Tensor]) -> Tensor:
        """Computes the weighted KL divergence, with at least `free_bits` nats per latent."""
        per_latent = _kl_per_latent(outputs["mean"], outputs["log_variance"])
        return self.kl_weight() * ops.sum(ops.maximum(per_latent, self.free_bits))

    def kl_weight(self) -> Tensor:
        """Returns the current weight of the KL divergence: β, or less during the warm-up."""
        # Without a warm-up the factor is 1 from the start, when `steps` is 0.
        warmup = ops.convert_to_tensor(self.kl_warmup_steps, dtype="float32")
        share = ops.minimum(self.steps / ops.maximum(warmup, 1.0), 1.0)
        return self.beta * ops.where(warmup > 0, share, 1.0)

    def _encode_batch(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to posterior means."""
        return self.mean(self.encoder(inputs, training=False))

    def _posterior_batch(self, inputs: Tensor) -> Tensor:
        """Returns the means and log-variances of a batch, concatenated on the last axis."""
        features = self.encoder(inputs, training=False)
        return ops.concatenate([self.mean(features), self.log_variance(features)], axis=-1)

    def sample_latents(
        self, inputs: Any, seed: int | None = None, batch_size: int = 128
    ) -> np.ndarray:
        """Samples latents from the posterior of each input.

        The decoder receives such samples in training. `encode` returns the posterior means instead.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.
            seed: Integer or `None`. Random seed; the same seed gives the same noise on every
                backend. Defaults to `None`.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.

        Returns:
            Float32 array of shape `(n, ..., latent_dim)`.
        """
        posteriors = self._in_batches(self._posterior_batch, inputs, batch_size, "inputs")
        mean, log_variance = np.split(posteriors, 2, axis=-1)
        noise = np.random.default_rng(seed).standard_normal(mean.shape, "float32")
        return mean + np.exp(0.5 * log_variance) * noise

    def generate(
        self,
        n: int,
        prior: Any = None,
        temperature: float = 1.0,
        seed: int | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Generates new data by decoding latents sampled from a prior.

        Args:
            n: Integer. Number of results.
            prior: Object with a method `generate(n, temperature, seed)` that returns latents, such
                as a `keras_vq.priors.GaussianMixturePrior` fitted to `sample_latents` of the
                training inputs. Defaults to `None`, which means the standard normal distribution.
            temperature: Float, at least 0. Factor by which the standard deviation of the prior is
                multiplied: below 1, results are more typical and less diverse. Defaults to 1.
            seed: Integer or `None`. Random seed; the same seed gives the same latents on every
                backend. Defaults to `None`.
            batch_size: Integer. Batch size. Defaults to 128.

        Returns:
            Float32 array of shape `(n, ...)`.

        Raises:
            ValueError: If an argument is out of range, the model is not built, or the prior is not
                fitted or was fitted to other latents.
        """
        shape = self._known_latent_shape()
        prior = _StandardNormal(shape) if prior is None else prior
        return self.decode(draw_latents(prior, n, temperature, seed, shape), batch_size)

    def traverse(
        self,
        latents: Any = None,
        dimensions: Sequence[int] | None = None,
        values: Sequence[float] | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Decodes latent traversals: one latent at a time varies, all others are constant.

        The row of a latent that the decoder ignores does not change.
        `keras_vq.plots.plot_traversal` plots the result.

        Args:
            latents: Array. Latents of one input from which to start, such as `encode(inputs)[0]`.
                Defaults to `None`, which means zeros, the mean of the prior.
            dimensions: Sequence of integers. Latents to vary, one row of results each, as indices
                into the flattened latents. Defaults to `None`, which means all.
            values: Sequence of floats. Values of the varied latent, in standard deviations of the
                prior. Defaults to `None`, which means 8 evenly spaced values from -3 to 3.
            batch_size: Integer. Batch size. Defaults to 128.

        Returns:
            Float32 array of shape `(len(dimensions), len(values), ...)`.

        Raises:
            ValueError: If `latents` has another shape than the latents of one input, a dimension
                does not exist, a value is not finite, or the model is not built.

        Example:
            >>> import keras_vq
            >>> vae = keras_vq.VAE.from_preset("vae_mnist")
            >>> vae.traverse(dimensions=[0, 5]).shape
            (2, 8, 28, 28, 1)
        """
        shape = self._known_latent_shape()
        start = np.zeros(shape, "float32") if latents is None else np.asarray(latents, "float32")
        if start.shape != shape:
            raise ValueError(
                f"`latents` must have the shape {shape} of the latents of one input, such as "
                f"`encode(inputs)[0]`. Received: shape {start.shape}"
            )
        chosen = np.arange(start.size) if dimensions is None else np.asarray(dimensions)
        is_list_of_them = chosen.ndim == 1 and chosen.size and chosen.dtype.kind in "iu"
        if not is_list_of_them or not ((chosen >= 0) & (chosen < start.size)).all():
            raise ValueError(
                f"`dimensions` must be a list of integers from 0 to {start.size - 1}. "
                f"Received: {dimensions!r}"
            )
        stops = np.linspace(-3.0, 3.0, 8) if values is None else np.asarray(values, "float64")
        if stops.ndim != 1 or not stops.size or not np.isfinite(stops).all():
            raise ValueError(f"`values` must be a list of finite numbers. Received: {values!r}")
        moved = np.tile(start.ravel(), (len(chosen), len(stops), 1))
        moved[np.arange(len(chosen)), :, chosen] = stops
        decoded = self.decode(moved.reshape(-1, *shape), batch_size)
        return decoded.reshape(len(chosen), len(stops), *decoded.shape[1:])

    def _known_latent_shape(self) -> tuple[int, ...]:
        shape = tuple(size for size in self.latent_shape if size) if self.built else ()
        if not self.built or len(shape) < len(self.latent_shape):
            raise ValueError(
                "The latent shape is unknown because the model is not built. Fit the model, or "
                "call it on a batch."
            )
        return shape


def _is_mean_over_values(loss: Any) -> bool:
    """Returns whether a loss is a Keras loss that averages over all values of an input."""
    if loss is None:
        return False
    loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        # Keras losses average over the last axis, and their reduction over the others.
        function = getattr(loss, "fn", loss.call)
        is_mean = loss.reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight")
        return is_mean and _is_of_keras(type(loss)) and _is_of_keras(function)
    return _is_of_keras(loss)


def _is_of_keras(made: Any) -> bool:
    return str(getattr(made, "__module__", "")).partition(".")[0] == "keras"


class _StandardNormal:
    """Standard normal distribution of latents, the default prior of the VAE."""

    def __init__(self, latent_shape: tuple[int, ...]) -> None:
        self.latent_shape = latent_shape

    def generate(self, n: int, temperature: float, seed: int | None) -> np.ndarray:
        """Samples latents."""
        noise = np.random.default_rng(seed).standard_normal((n, *self.latent_shape), "float32")
        return np.float32(temperature) * noise


def _kl_per_latent(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Computes KL(N(μ, σ²) ‖ N(0, 1)) of each latent, averaged over the batch."""
    per_input = 0.5 * (ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance)
    return ops.mean(per_input, axis=0)
