"""The autoencoder: a bottleneck of real numbers."""

from typing import Any

import keras
import numpy as np

from keras_vq._types import Shape, Tensor
from keras_vq.models._draws import draw_latents
from keras_vq.models.base import ReconstructionModel


@keras.saving.register_keras_serializable("keras_vq")
class Autoencoder(ReconstructionModel):
    """Encodes images to real latents and decodes them; the plain baseline of the other models.

    The loss is the reconstruction term alone; mean squared error by default. Source: Hinton and
    Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", 2006.

    Args:
        encoder: Layer or model: images -> latents.
        decoder: Layer or model: latents -> images.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`, pixels in [0, 1].

    Returns:
        A dictionary: `reconstruction` (images), `latents`.

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

    def __init__(self, encoder: keras.Layer, decoder: keras.Layer, **kwargs: Any) -> None:
        super().__init__(encoder, decoder, **kwargs)
        self.build_if_known()

    def build_parts(self, input_shape: Shape) -> None:
        """Builds encoder and decoder for a batch of images."""
        latent_shape = self.build_encoder(input_shape)
        self.build_decoder(latent_shape)
        self.latent_shape = latent_shape[1:]

    def call(self, images: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Reconstructs a batch of images."""
        z = self.encoder(images, training=training)
        x_hat = self.decoder(z, training=training)
        return {"reconstruction": x_hat, "latents": z}

    def encode_batch(self, images: Tensor) -> Tensor:
        """Latents of a batch of images."""
        return self.encoder(images, training=False)

    def generate(
        self,
        n: int,
        prior: Any,
        temperature: float = 1.0,
        seed: int | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """New images: decodes latents drawn from a prior.

        An autoencoder has no prior of its own: one is fitted to the latents of its training
        images. Source: Ghosh et al., "From Variational to Deterministic Autoencoders", 2020.

        Args:
            n: Number of images.
            prior: What has a method `generate(n, temperature, seed)` that gives latents, such as
                `keras_vq.priors.GaussianMixturePrior`, fitted to `encode` of the training images.
            temperature: Deviation of the draws, as a multiple of the prior's, at least 0: below 1,
                images are more typical and less varied.
            seed: Seed of the draw; the same seed draws the same latents on every backend.
            batch_size: Images computed at a time.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.

        Raises:
            ValueError: If an argument is out of its range, the prior is not fitted or was fitted
                to other latents, or the model is not built.

        Example:
            >>> import numpy as np, keras_vq
            >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
            >>> model = keras_vq.Autoencoder(*keras_vq.networks.dense((8, 8, 1), latent_dim=4))
            >>> prior = keras_vq.priors.GaussianMixturePrior(components=2, seed=0)
            >>> model.generate(5, prior.fit(model.encode(images)), seed=0).shape
            (5, 8, 8, 1)
        """
        if not self.built:
            raise ValueError(
                "The shape of the latents is not known yet: fit the model, or call it on a "
                "batch. Received: an unbuilt model"
            )
        return self.decode(draw_latents(prior, n, temperature, seed, self.latent_shape), batch_size)
