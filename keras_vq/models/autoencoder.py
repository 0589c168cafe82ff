"""Autoencoder with continuous latents."""

from typing import Any

import keras
import numpy as np

from keras_vq._types import Shape, Tensor
from keras_vq.models._draws import draw_latents
from keras_vq.models.base import ReconstructionModel


@keras.saving.register_keras_serializable("keras_vq")
class Autoencoder(ReconstructionModel):
    """Deterministic autoencoder with continuous latents, a baseline for the other models.

    The loss is the reconstruction term alone, by default the mean squared error. Source: Hinton and
    Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", 2006.

    Args:
        encoder: Layer or model that maps inputs to latents.
        decoder: Layer or model that maps latents to reconstructions.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: Float tensor of shape `(batch, ...)`.

    Returns:
        A dictionary with `reconstruction` and `latents`.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> model = keras_vq.Autoencoder(*keras_vq.networks.dense((8, 8, 1), latent_dim=4))
        >>> model.compile("adam")
        >>> history = model.fit(images, epochs=1, verbose=0)
        >>> sorted(history.history)
        ['loss', 'reconstruction_loss']
        >>> model.encode(images).shape
        (64, 4)
    """

    # `generate` raises an error without a prior.
    _needs_prior = True

    def __init__(self, encoder: keras.Layer, decoder: keras.Layer, **kwargs: Any) -> None:
        super().__init__(encoder, decoder, **kwargs)
        self._build_if_known()

    def _build_parts(self, input_shape: Shape) -> None:
        """Builds the encoder and the decoder for batches of inputs of shape `input_shape`."""
        latent_shape = self._build_encoder(input_shape)
        self._build_decoder(latent_shape)
        self.latent_shape = latent_shape[1:]

    def call(self, inputs: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Reconstructs a batch of inputs."""
        z = self.encoder(inputs, training=training)
        x_hat = self.decoder(z, training=training)
        return {"reconstruction": x_hat, "latents": z}

    def _encode_batch(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to latents."""
        return self.encoder(inputs, training=False)

    def generate(
        self,
        n: int,
        prior: Any = None,
        temperature: float = 1.0,
        seed: int | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Generates new data by decoding latents sampled from a prior.

        An autoencoder has no prior of its own: fit one to the latents of the training inputs.
        Source: Ghosh et al., "From Variational to Deterministic Autoencoders", 2020.

        Args:
            n: Integer. Number of results.
            prior: Object with a method `generate(n, temperature, seed)` that returns latents, such
                as a `keras_vq.priors.GaussianMixturePrior` fitted to `encode` of the training
                inputs.
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

        Example:
            >>> import numpy as np, keras_vq
            >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
            >>> model = keras_vq.Autoencoder(*keras_vq.networks.dense((8, 8, 1), latent_dim=4))
            >>> prior = keras_vq.priors.GaussianMixturePrior(n_components=2, seed=0)
            >>> history = prior.fit(model.encode(images))
            >>> model.generate(5, prior, seed=0).shape
            (5, 8, 8, 1)
        """
        self._check_built()
        return self.decode(draw_latents(prior, n, temperature, seed, self.latent_shape), batch_size)
