"""The vector-quantized variational autoencoder: a bottleneck of codes."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import Start
from keras_vq.models.code_model import CodeModel, check_quantizer
from keras_vq.quantizers.base import Quantizer


@keras.saving.register_keras_serializable("keras_vq")
class VQVAE(CodeModel):
    """Encodes an image to a grid of codes, and decodes the codes.

    The loss is the reconstruction term plus what the quantizer adds (commitment, and the codebook
    loss if it learns by gradient). By default the reconstruction term is the mean squared error
    divided by the variance of the data, in training and in evaluation: a constant image of the
    mean pixel would score 1, whatever the data. A `loss` of `compile` is not divided.
    Source: van den Oord et al., "Neural Discrete Representation Learning", 2017; the division:
    its authors' notebook in Sonnet.

    Args:
        encoder: Layer or model: images -> latents of shape `(batch, ..., dim)`.
        quantizer: A `Quantizer` of vectors of that dimension.
        decoder: Layer or model: quantized latents -> images.
        data_variance: Variance of the target pixels, by which the default loss divides. None
            measures it on the first data with values that differ, of whichever method computes a
            loss, and keeps it with the weights.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`, pixels in [0, 1].

    Returns:
        A dictionary: `reconstruction` (images), `codes` (int32; the latents' shape less its
        last axis, and the quantizer's `index_shape`).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
        >>> model.compile("adam")
        >>> history = model.fit(images, epochs=1, verbose=0)
        >>> sorted(history.history)
        ['codebook_usage', 'loss', 'perplexity', 'quantization_loss', 'reconstruction_loss']
        >>> codes = model.encode_to_codes(images)
        >>> codes.shape, model.decode_codes(codes).shape
        ((64, 2, 2), (64, 8, 8, 1))
        >>> model.code_shape, model.codebook_sizes
        ((2, 2), (16,))
    """

    part_names: tuple[str, ...] = ("encoder", "quantizer", "decoder")

    def __init__(
        self,
        encoder: keras.Layer,
        quantizer: Quantizer,
        decoder: keras.Layer,
        data_variance: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, decoder, data_variance, **kwargs)
        self.quantizer = check_quantizer("quantizer", quantizer)
        self._mask_of = _MaskOf()
        self._code_shape: Shape | None = None
        self.build_if_known()

    def build_parts(self, input_shape: Shape) -> None:
        """Builds encoder, quantizer and decoder for a batch of images."""
        latent_shape = self.build_encoder(input_shape)
        if not self.quantizer.built:
            self.quantizer.build(latent_shape)
        self.build_decoder(latent_shape)
        self._code_shape = tuple(self.quantizer.indices_shape(latent_shape)[1:])
        super().build_parts(input_shape)

    def call(self, images: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Reconstructs a batch of images from their codes."""
        z = self.encoder(images, training=training)
        z_q, codes = self.quantizer(z, training=training, return_codes=True)
        x_hat = self.decoder(z_q, training=training)
        return {"reconstruction": x_hat, "codes": codes}

    @property
    def code_shape(self) -> Shape | None:
        """Shape of the codes of one image, such as (7, 7), or (7, 7, L) with L codes a vector.

        None while the model is not built; sizes that differ between images are None in it.
        """
        return self._code_shape

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """How many values a code may take: one number, or one for each of the L codes a vector."""
        return self.quantizer.codebook_sizes

    def levels(self) -> dict[str, Quantizer]:
        """The one quantizer."""
        return {"": self.quantizer}

    def adapt(self, images: Any, start: Start = "kmeans", batch_size: int = 128) -> None:
        """Places the codes among the latents of images, before training.

        Args:
            images: Array of shape `(n, height, width, channels)`, or a data set of such batches.
            start: How; see `BaseCodebook.adapt`.
            batch_size: Images computed at a time.
        """
        self.quantizer.adapt(
            self.in_batches("continuous_latents", images, batch_size, self.image_shape),
            start=start,
        )

    def encode_batch(self, images: Tensor) -> Tensor:
        """Quantized latents of a batch of images."""
        z = self.encoder(images, training=False)
        return self.quantizer(z, training=False, return_codes=False)

    def continuous_latents(self, images: Tensor) -> Tensor:
        """Latents of a batch of images before they are quantized."""
        return self.encoder(images, training=False)

    def interpolate_batch(self, latents: Tensor) -> Tensor:
        """Images of latents that are quantized first."""
        return self.decode_batch(self.quantizer(latents, training=False, return_codes=False))

    def encode_to_codes_batch(self, images: Tensor) -> Tensor:
        """Codes of a batch of images; -1 where the encoder masks."""
        z = self.encoder(images, training=False)
        return self.quantizer.encode(z, mask=self._mask_of(z))

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """Quantized latents of a batch of codes."""
        return self.quantizer.decode(codes)

    def decode_codes_batch(self, codes: Tensor) -> Tensor:
        """Images of a batch of codes; a decoder that takes masks is told where there is none."""
        if not getattr(self.decoder, "supports_masking", False):
            return super().decode_codes_batch(codes)
        first_level = codes[..., 0] if self.quantizer.index_shape else codes
        mask = ops.greater_equal(first_level, 0)
        return self.decoder(self.codes_to_latents(codes), training=False, mask=mask)

    def encode_to_codes(self, images: Any, batch_size: int = 128) -> np.ndarray:
        """Codes of images.

        Args:
            images: Array of shape `(n, height, width, channels)`, or a data set of such batches.
            batch_size: Integer. Batch size; a data set has its own.

        Returns:
            Int32 array of the latents' shape less its last axis, such as `(n, 7, 7)`.
        """
        return self.in_batches("encode_to_codes_batch", images, batch_size, self.image_shape)

    def decode_codes(self, codes: Any, batch_size: int = 128) -> np.ndarray:
        """Images of codes; `decode_codes(encode_to_codes(x))` equals `reconstruct(x)`.

        Args:
            codes: Integer array, as `encode_to_codes` returns them; values in
                `[0, codebook_size)` of their level, or -1 for a zero latent.
            batch_size: Images computed at a time.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.

        Raises:
            ValueError: If the codes have another shape than `code_shape`, or one is not a whole
                number, or out of range.
        """
        codes = self._checked_codes("codes", codes, self.quantizer, self._code_shape)
        return self.in_batches("decode_codes_batch", codes, batch_size)


class _MaskOf(keras.layers.Layer):
    """The mask that a tensor carries, or None: Keras tells it to layers that ask."""

    def __init__(self) -> None:
        super().__init__()
        self.supports_masking = True
        # Keras runs a model once more, uncompiled, while a part of it is not built.
        self.built = True

    def call(self, tensor: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """Returns the mask."""
        del tensor
        return mask

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None) -> None:
        """None: a mask has no mask."""
        del inputs, previous_mask
