"""Variational autoencoder (VAE) with Gaussian latents."""

import math
import warnings
from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.models._batches import first_targets
from keras_vq.models._likelihood_estimates import kl_divergence
from keras_vq.models.gaussian_latents import GaussianLatentModel

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
class VAE(GaussianLatentModel):
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
        decoder: Layer or model that maps latents to the parameters of the likelihood: probabilities
            in [0, 1] for the default.
        latent_dim: Integer. Number of latents, per position if the features are a map.
        beta: Float, at least 0. Weight β of the KL divergence. With a `loss` of `compile` that is a
            mean over the values of an input, such as `"mse"`, use about 1 / (number of values);
            `fit` issues a `PosteriorCollapseWarning` if `beta` is far above. Defaults to 1.
        kl_warmup_steps: Integer. Number of training steps over which the weight of the KL
            divergence rises linearly from 0 to β. Defaults to 0.
        free_bits: Float, at least 0. Minimum of the KL divergence of each latent in the loss, in
            nats, averaged over the batch. A latent below it gets no gradient from the KL term,
            which prevents posterior collapse. Defaults to 0.
        likelihood: Object or name of a `keras_vq.losses.NegativeLogLikelihood`, the reconstruction
            term unless `compile` receives a `loss`. It defines the meaning of the decoder outputs,
            and reconstructions are its expected values. Defaults to `None`, for
            `BernoulliNegativeLogLikelihood`.
        latent_shift: Float. See `latent_scale`. Defaults to 0.
        latent_scale: Float above 0. `encode` returns (μ - `latent_shift`) · `latent_scale`, and
            `decode` reverses it, so that a prior gets latents of variance 1 (Rombach et al.,
            "High-Resolution Image Synthesis with Latent Diffusion Models", 2022, appendix G).
            `adapt` measures both. Defaults to 1.
        seed: Integer or `None`. Seed of the samples. Defaults to `None`.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: Float tensor of shape `(batch, ...)`.

    Returns:
        A dictionary with `reconstruction`, `decoder_outputs` (the parameters of the likelihood),
        `mean`, `log_variance` and `latents` (the sample).

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
        likelihood: Any = None,
        latent_shift: float = 0.0,
        latent_scale: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            encoder, decoder, latent_dim, likelihood, latent_shift, latent_scale, seed, **kwargs
        )
        self.beta = beta
        self.kl_warmup_steps = kl_warmup_steps
        self.free_bits = free_bits
        self._build_if_known()

    def _build_parts(self, input_shape: Shape) -> None:
        """Builds all parts for batches of inputs of shape `input_shape`."""
        super()._build_parts(input_shape)
        self.steps = self.add_weight(
            name="steps", initializer="zeros", trainable=False, dtype="float32", autocast=False
        )

    def call(self, inputs: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Reconstructs a batch of inputs from samples of their posteriors."""
        features = self.encoder(inputs, training=training)
        mean, log_variance = self.mean(features), self.log_variance(features)
        z = self.sampling(mean, log_variance)
        parameters = self.decoder(z, training=training)
        if training:
            self.steps.assign(self.steps + 1.0)
        return {
            "reconstruction": self.likelihood.expected_value(parameters),
            "decoder_outputs": parameters,
            "mean": mean,
            "log_variance": log_variance,
            "latents": z,
        }

    def _prepare_fit(self, x: Any, y: Any) -> None:
        """Warns if the loss may cause posterior collapse."""
        super()._prepare_fit(x, y)
        self._warn_of_mean_loss(x, y)

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

    def _latent_loss(self, outputs: dict[str, Tensor]) -> Tensor:
        """Computes the weighted KL divergence, with at least `free_bits` nats per latent."""
        per_latent = ops.mean(kl_divergence(outputs["mean"], outputs["log_variance"]), axis=0)
        return self.kl_weight() * ops.sum(ops.maximum(per_latent, self.free_bits))

    def kl_weight(self) -> Tensor:
        """Returns the current weight of the KL divergence: β, or less during the warm-up."""
        # Without a warm-up the factor is 1 from the start, when `steps` is 0.
        warmup = ops.convert_to_tensor(self.kl_warmup_steps, dtype="float32")
        share = ops.minimum(self.steps / ops.maximum(warmup, 1.0), 1.0)
        return self.beta * ops.where(warmup > 0, share, 1.0)


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
