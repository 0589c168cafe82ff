"""Base class of autoencoders with Gaussian latents."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_vq import _validation, losses
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.layers.gaussian_sampling import GaussianSampling
from keras_vq.losses.likelihoods import BernoulliNegativeLogLikelihood, NegativeLogLikelihood
from keras_vq.models._data_checks import last_layer
from keras_vq.models._draws import draw_latents
from keras_vq.models._likelihood_estimates import LikelihoodEstimates, kl_divergence
from keras_vq.models._ranges import Range


class GaussianLatentModel(LikelihoodEstimates):
    """Base class of autoencoders with a Gaussian posterior of their latents.

    The model projects the features of the encoder to means and log-variances, and interprets the
    decoder outputs as the parameters of a likelihood. A subclass implements `call` and calls
    `_build_if_known` at the end of its constructor. `VAE` describes the arguments.

    Args:
        encoder: Layer or model.
        decoder: Layer or model.
        latent_dim: Integer. Number of latents, per position if the features are a map.
        likelihood: Object or name of a `keras_vq.losses.NegativeLogLikelihood`, or `None`.
        latent_shift: Float.
        latent_scale: Float above 0.
        seed: Integer or `None`. Seed of the samples.
        **kwargs: Arguments of `keras.Model`.
    """

    _loss_names = ("reconstruction_loss", "kl_loss")
    latent_shift = Hyperparameter(_validation.check_finite)
    latent_scale = Hyperparameter(_validation.check_positive)

    def __init__(
        self,
        encoder: keras.Layer,
        decoder: keras.Layer,
        latent_dim: int,
        likelihood: Any = None,
        latent_shift: float = 0.0,
        latent_scale: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, decoder, **kwargs)
        self.latent_dim = _validation.check_positive_integer("latent_dim", latent_dim)
        self.likelihood = _checked_likelihood(likelihood)
        self.latent_shift = latent_shift
        self.latent_scale = latent_scale
        self.seed = seed
        # float32, because the exponential of a log-variance overflows in half precision.
        self.mean = layers.Dense(self.latent_dim, dtype="float32", name="mean")
        self.log_variance = layers.Dense(self.latent_dim, dtype="float32", name="log_variance")
        self.sampling = GaussianSampling(seed, dtype="float32")

    def _build_parts(self, input_shape: Shape) -> None:
        """Builds all parts for batches of inputs of shape `input_shape`."""
        features_shape = self._build_encoder(input_shape)
        self.mean.build(features_shape)
        self.log_variance.build(features_shape)
        latent_shape = (*features_shape[:-1], self.latent_dim)
        self._build_decoder(latent_shape)
        self.latent_shape = latent_shape[1:]

    def _default_loss(self) -> keras.losses.Loss:
        """Returns the negative log-likelihood, summed over values."""
        return self.likelihood

    def _default_loss_inputs(self, outputs: dict[str, Tensor]) -> Tensor:
        """Returns the parameters of the likelihood."""
        return outputs["decoder_outputs"]

    def _build_decoder(self, latent_shape: Shape) -> None:
        """Builds the decoder, which returns the parameters of the likelihood of each value."""
        super()._build_decoder(latent_shape)
        count, decoded = self.likelihood.parameters_per_value, self.reconstruction_shape
        assert decoded is not None  # set when the decoder is built
        if decoded[-1] is not None and decoded[-1] % count:
            raise ValueError(
                f"The decoder must return {count} numbers for each value of the data, as "
                f"`likelihood`={type(self.likelihood).__name__} requires. Received: outputs of "
                f"shape {decoded}"
            )
        channels = None if decoded[-1] is None else decoded[-1] // count
        self.reconstruction_shape = (*decoded[:-1], channels)

    def _value_range(self) -> Range:
        """Returns the range of the likelihood, or else that of the decoder outputs."""
        has_loss = getattr(self, "loss", None) is not None
        if has_loss and self.likelihood.parameters_per_value == 1:
            return super()._value_range()
        limits = Range(*self.likelihood.value_range)
        return limits if limits != Range() else super()._value_range()

    def _prepare_fit(self, x: Any, y: Any) -> None:
        """Warns if the encoder ends with a projection."""
        super()._prepare_fit(x, y)
        last = last_layer(self.encoder)
        width = getattr(last, "units", getattr(last, "filters", None))
        is_linear = getattr(last, "activation", None) is keras.activations.linear
        kernel_sizes = set(getattr(last, "kernel_size", (1,)))
        if width == self.latent_dim and is_linear and kernel_sizes == {1}:
            warnings.warn(
                f"The encoder ends with a linear projection to {width} features, and the model "
                "adds another projection to means and log-variances. The first projection discards "
                "information for the log-variances. Build the networks with `latent_dim=None`, and "
                "pass `latent_dim` only to the model.",
                stacklevel=5,
            )

    def _loss_terms(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Computes the unweighted KL divergence from the prior, in nats per input."""
        return {
            "kl_loss": ops.sum(
                ops.mean(kl_divergence(outputs["mean"], outputs["log_variance"]), axis=0)
            )
        }

    def _encode_batch(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to posterior means, shifted and scaled."""
        mean = self.mean(self.encoder(inputs, training=False))
        return (mean - self.latent_shift) * self.latent_scale

    def _decode_batch(self, latents: Tensor) -> Tensor:
        """Decodes a batch of latents to the expected values of the data."""
        z = latents / self.latent_scale + self.latent_shift
        return self.likelihood.expected_value(self.decoder(z, training=False))

    def _posterior_batch(self, inputs: Tensor) -> Tensor:
        """Returns the means and log-variances of a batch, concatenated on the last axis."""
        features = self.encoder(inputs, training=False)
        return ops.concatenate([self.mean(features), self.log_variance(features)], axis=-1)

    def adapt(self, inputs: Any, batch_size: int = 128) -> None:
        """Sets `latent_shift` and `latent_scale` so that `encode` has mean 0 and variance 1.

        Call it after training, before a prior is fitted to the latents.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.

        Raises:
            ValueError: If all latents are equal.
        """
        latents = self.sample_latents(inputs, seed=0, batch_size=batch_size).astype("float64")
        latents = latents / self.latent_scale + self.latent_shift
        deviation = float(latents.std())
        if deviation == 0:
            raise ValueError(
                "The latents of `inputs` must differ. Train the model first. Received: latents "
                f"that are all {latents.flat[0]:g}"
            )
        self.latent_shift, self.latent_scale = float(latents.mean()), 1.0 / deviation

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
        return self._scaled(mean + np.exp(0.5 * log_variance) * noise)

    def _scaled(self, z: np.ndarray) -> np.ndarray:
        """Returns latents of the decoder in the form that `encode` returns."""
        return np.asarray((z - self.latent_shift) * self.latent_scale, "float32")

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
        if prior is None:
            latents = draw_latents(_StandardNormal(shape), n, temperature, seed, shape)
            return self.decode(self._scaled(latents), batch_size)
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
                Defaults to `None`, which means the mean of the standard normal distribution.
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
        zeros = self._scaled(np.zeros(shape, "float32"))
        start = zeros if latents is None else np.asarray(latents, "float32")
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
        moved[np.arange(len(chosen)), :, chosen] = self._scaled(stops)
        decoded = self.decode(moved.reshape(-1, *shape), batch_size)
        return decoded.reshape(len(chosen), len(stops), *decoded.shape[1:])

    def _known_latent_shape(self) -> tuple[int, ...]:
        self._check_built()
        if None in self.latent_shape:
            raise ValueError(
                "The latent shape must be fixed. Add an Input of fixed shape to the encoder. "
                f"Received: latent_shape={self.latent_shape}"
            )
        return tuple(size for size in self.latent_shape if size is not None)


def _checked_likelihood(likelihood: Any) -> NegativeLogLikelihood:
    found = losses.get(likelihood) or BernoulliNegativeLogLikelihood()
    if not isinstance(found, NegativeLogLikelihood):
        raise ValueError(
            "`likelihood` must be a `keras_vq.losses.NegativeLogLikelihood`, such as "
            "`GaussianNegativeLogLikelihood()`; pass other losses to `compile`. "
            f"Received: {likelihood!r}"
        )
    return found


class _StandardNormal:
    """Standard normal distribution of latents, the default prior of the VAE."""

    def __init__(self, latent_shape: tuple[int, ...]) -> None:
        self.latent_shape = latent_shape

    def generate(self, n: int, temperature: float, seed: int | None) -> np.ndarray:
        """Samples latents."""
        noise = np.random.default_rng(seed).standard_normal((n, *self.latent_shape), "float32")
        return np.float32(temperature) * noise
