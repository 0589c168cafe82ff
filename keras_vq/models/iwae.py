"""Importance weighted autoencoder (IWAE)."""

import math
from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._types import Tensor
from keras_vq.models._likelihood_estimates import log_prior_ratio
from keras_vq.models.gaussian_latents import GaussianLatentModel


@keras.saving.register_keras_serializable("keras_vq")
class IWAE(GaussianLatentModel):
    """Importance weighted autoencoder (IWAE): a VAE trained with a tighter bound.

    The loss is -log (1/k) Σ p(x|z) p(z) / q(z|x) over k samples z from the posterior q(z|x), in
    nats per input. With one sample it is the negative ELBO of a `VAE`, with a sampled KL
    divergence. Source: Burda et al., "Importance Weighted Autoencoders", 2016.

    Logs report the mean of -log p(x|z) over the samples as `reconstruction_loss` and the exact KL
    divergence as `kl_loss`; the loss is at most their sum, up to the noise of the samples.

    Args:
        encoder: Layer or model; see `VAE`.
        decoder: Layer or model; see `VAE`.
        latent_dim: Integer. Number of latents, per position if the features are a map.
        num_samples: Integer. Number of samples k of each input, which the decoder receives at once.
            Defaults to 5.
        likelihood: Object or name of a `keras_vq.losses.NegativeLogLikelihood`. Defaults to `None`,
            for `BernoulliNegativeLogLikelihood`. `compile` takes no `loss`.
        latent_shift: Float; see `VAE`. Defaults to 0.
        latent_scale: Float; see `VAE`. Defaults to 1.
        seed: Integer or `None`. Seed of the samples. Defaults to `None`.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: Float tensor of shape `(batch, ...)`.

    Returns:
        A dictionary with `reconstruction` (from the first sample), `decoder_outputs` and `latents`
        of shape `(batch, num_samples, ...)`, `noise` of the same shape as the latents, `mean` and
        `log_variance`.

    Raises:
        ValueError: If an argument is out of range, or `compile` received a loss.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> encoder, decoder = keras_vq.networks.dense(
        ...     (8, 8, 1), units=(32,), latent_dim=None, output_activation="sigmoid"
        ... )
        >>> model = keras_vq.IWAE(encoder, decoder, latent_dim=4, num_samples=3)
        >>> model.compile("adam")
        >>> history = model.fit(images, epochs=1, verbose=0)
        >>> model.log_likelihood(images[:5], samples=10, seed=0).shape
        (5,)
    """

    def __init__(
        self,
        encoder: keras.Layer,
        decoder: keras.Layer,
        latent_dim: int,
        num_samples: int = 5,
        likelihood: Any = None,
        latent_shift: float = 0.0,
        latent_scale: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.num_samples = _validation.check_positive_integer("num_samples", num_samples)
        super().__init__(
            encoder, decoder, latent_dim, likelihood, latent_shift, latent_scale, seed, **kwargs
        )
        self._build_if_known()

    def call(self, inputs: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Reconstructs a batch of inputs from samples of their posteriors."""
        features = self.encoder(inputs, training=training)
        mean, log_variance = self.mean(features), self.log_variance(features)
        zeros = ops.repeat(ops.zeros_like(mean)[:, None], self.num_samples, axis=1)
        noise = self.sampling(zeros, zeros)
        z = mean[:, None] + ops.exp(0.5 * log_variance[:, None]) * noise
        parameters = self.decoder(ops.reshape(z, (-1, *ops.shape(z)[2:])), training=training)
        parameters = ops.reshape(parameters, (-1, self.num_samples, *ops.shape(parameters)[1:]))
        return {
            "reconstruction": self.likelihood.expected_value(parameters[:, 0]),
            "decoder_outputs": parameters,
            "mean": mean,
            "log_variance": log_variance,
            "latents": z,
            "noise": noise,
        }

    def _prepare_fit(self, x: Any, y: Any) -> None:
        """Rejects a loss of `compile`, which has no importance weights."""
        super()._prepare_fit(x, y)
        if self.loss is not None:
            raise ValueError(
                "IWAE must be compiled without a loss; pass `likelihood` to the constructor. "
                f"Received: loss={self.loss!r}"
            )

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """Computes the loss of a batch; see `ReconstructionModel.compute_loss`."""
        # The bound and the reported reconstruction term share the likelihood of the samples.
        y_pred = {**y_pred, "nats": self._nats(x if y is None else y, y_pred)}
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def _nats(self, target: Tensor, outputs: dict[str, Tensor]) -> Tensor:
        """Computes -log p(x|z) of each sample. Shape `(batch, num_samples)`."""
        parameters = outputs["decoder_outputs"]
        nats = self.likelihood.call(
            ops.repeat(target, self.num_samples, axis=0),
            ops.reshape(parameters, (-1, *ops.shape(parameters)[2:])),
        )
        return ops.reshape(nats, (-1, self.num_samples))

    def _reconstruction_loss(
        self, target: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None = None
    ) -> Tensor:
        """Computes the mean of -log p(x|z) over samples and inputs."""
        del target
        return _mean(ops.mean(outputs["nats"], axis=1), sample_weight)

    def _objective(
        self,
        target: Tensor,
        outputs: dict[str, Tensor],
        reconstruction_loss: Tensor,
        sample_weight: Tensor | None,
    ) -> Tensor:
        """Computes the negative importance weighted bound."""
        del target, reconstruction_loss
        z, noise, log_variance = (outputs[name] for name in ("latents", "noise", "log_variance"))
        log_weights = log_prior_ratio(z, noise, log_variance[:, None]) - outputs["nats"]
        bound = ops.logsumexp(log_weights, axis=1) - math.log(self.num_samples)
        return _mean(-bound, sample_weight)


def _mean(per_input: Tensor, sample_weight: Tensor | None) -> Tensor:
    """Computes the mean over a batch of values that are multiplied by their weights."""
    return ops.mean(per_input if sample_weight is None else per_input * sample_weight)
