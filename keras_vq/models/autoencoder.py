"""The autoencoder: a bottleneck of real numbers."""

from typing import Any

import keras

from keras_vq._types import Shape, Tensor
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
        self.build_decoder(self.build_encoder(input_shape))

    def call(self, images: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Reconstructs a batch of images."""
        z = self.encoder(images, training=training)
        x_hat = self.decoder(z, training=training)
        return {"reconstruction": x_hat, "latents": z}

    def encode_batch(self, images: Tensor) -> Tensor:
        """Latents of a batch of images."""
        return self.encoder(images, training=False)
