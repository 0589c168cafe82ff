"""Vector-quantized variational autoencoder (VQ-VAE)."""

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
    """Vector-quantized variational autoencoder (VQ-VAE): encodes an image to a grid of codes.

    The loss is the reconstruction term plus the losses of the quantizer: the commitment loss, and
    the codebook loss if the codebook is trained by gradient. The default reconstruction term is the
    mean squared error divided by the variance of the targets, in training and evaluation: a
    constant image of the mean pixel has a loss of 1 on every dataset. A `loss` passed to `compile`
    is not divided. Source: van den Oord et al., "Neural Discrete Representation Learning", 2017;
    the division: its authors' notebook in Sonnet.

    Args:
        encoder: Layer or model that maps images to latents of shape `(batch, ..., dim)`.
        quantizer: A `Quantizer` of vectors of that dimension.
        decoder: Layer or model that maps quantized latents to images.
        data_variance: Float or `None`. Variance of the targets, by which the default loss is
            divided. If it is `None`, the variance is measured on the first data that are not
            constant, in `fit` or any other method that computes the loss, and saved with the
            weights. Defaults to `None`.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`, with values in [0, 1].

    Returns:
        A dictionary with `reconstruction` (images) and `codes` (int32, of shape
        `latents.shape[:-1] + quantizer.code_shape`).

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
        >>> model.compile("adam")
        >>> history = model.fit(images, epochs=1, verbose=0)
        >>> sorted(history.history)
        ['codebook_usage', 'loss', 'perplexity', 'quantization_loss', 'reconstruction_loss']
        >>> codes = model.encode(images)
        >>> codes.shape, model.decode(codes).shape
        ((64, 2, 2), (64, 8, 8, 1))
        >>> model.code_shape, model.codebook_sizes
        ((2, 2), (16,))
    """

    _part_names: tuple[str, ...] = ("encoder", "quantizer", "decoder")

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
        self._build_if_known()

    def _build_parts(self, input_shape: Shape) -> None:
        """Builds the encoder, the quantizer and the decoder for batches of images."""
        latent_shape = self._build_encoder(input_shape)
        self.quantizer._build_for(latent_shape)
        self._build_decoder(latent_shape)
        self._code_shape = tuple(self.quantizer._compute_codes_shape(latent_shape)[1:])
        super()._build_parts(input_shape)

    def call(self, images: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Reconstructs a batch of images from their codes."""
        z = self.encoder(images, training=training)
        z_q, codes = self.quantizer(z, training=training, return_codes=True)
        x_hat = self.decoder(z_q, training=training)
        return {"reconstruction": x_hat, "codes": codes}

    @property
    def code_shape(self) -> Shape | None:
        """Shape of the codes of one image, e.g. `(7, 7)`, or `(7, 7, L)` with L codes per vector.

        `None` until the model is built. Axes whose size differs between images are `None`.
        """
        return self._code_shape

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size of each code of a vector, as a tuple of one or L integers."""
        return self.quantizer.codebook_sizes

    def _quantizers(self) -> dict[str, Quantizer]:
        """Returns the only quantizer, with an empty suffix."""
        return {"": self.quantizer}

    def adapt(self, images: Any, start: Start = "kmeans", batch_size: int = 128) -> None:
        """Initializes the codebook from the latents of images, before training.

        Args:
            images: Array of shape `(n, height, width, channels)`, or a dataset that yields such
                batches.
            start: String. `"kmeans"` or `"first"`; see `Codebook.adapt`. Defaults to
                `"kmeans"`.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.
        """
        self.quantizer.adapt(
            self._in_batches(self._latents_batch, images, batch_size, self.image_shape),
            start=start,
        )

    def _encode_quantized_batch(self, images: Tensor) -> Tensor:
        """Encodes a batch of images to quantized latents."""
        z = self.encoder(images, training=False)
        return self.quantizer(z, training=False, return_codes=False)

    def _latents_batch(self, images: Tensor) -> Tensor:
        """Encodes a batch of images to latents before quantization."""
        return self.encoder(images, training=False)

    def _interpolate_batch(self, latents: Tensor) -> Tensor:
        """Quantizes a batch of interpolated latents and decodes them to images."""
        return self._decode_quantized_batch(
            self.quantizer(latents, training=False, return_codes=False)
        )

    def _encode_batch(self, images: Tensor) -> Tensor:
        """Encodes a batch of images to codes, which are -1 where the encoder masks."""
        z = self.encoder(images, training=False)
        return self.quantizer.encode(z, mask=self._mask_of(z))

    def _lookup(self, codes: Tensor) -> Tensor:
        """Looks up the quantized latents of a batch of codes."""
        return self.quantizer.decode(codes)

    def _decode_batch(self, codes: Tensor) -> Tensor:
        """Decodes a batch of codes to images.

        A decoder that supports masking receives a mask that is false where a code is -1.
        """
        if not getattr(self.decoder, "supports_masking", False):
            return super()._decode_batch(codes)
        first_stage = codes[..., 0] if self.quantizer.code_shape else codes
        mask = ops.greater_equal(first_stage, 0)
        return self.decoder(self._lookup(codes), training=False, mask=mask)

    def encode(self, images: Any, batch_size: int = 128) -> np.ndarray:
        """Encodes images to codes.

        Args:
            images: Array of shape `(n, height, width, channels)`, or a dataset that yields such
                batches.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.

        Returns:
            Int32 array of shape `(n, *code_shape)`, e.g. `(n, 7, 7)`; -1 where the encoder masks.
        """
        return self._in_batches(self._encode_batch, images, batch_size, self.image_shape)

    def decode(self, codes: Any, batch_size: int = 128) -> np.ndarray:
        """Decodes codes to images; `decode(encode(x))` equals `reconstruct(x)`.

        Args:
            codes: Integer array of shape `(n, *code_shape)`, with values in `[0, codebook_size)`,
                or -1 for a zero latent.
            batch_size: Integer. Number of images per batch. Defaults to 128.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.

        Raises:
            ValueError: If the codes have another shape, are not integers, or are out of range.
        """
        codes = self._checked_codes("codes", codes, self.quantizer, self._code_shape)
        return self._in_batches(self._decode_batch, codes, batch_size)


class _MaskOf(keras.layers.Layer):
    """Layer that returns the mask of its input, or `None`: Keras passes masks only to layers."""

    def __init__(self) -> None:
        super().__init__()
        self.supports_masking = True
        # Keras runs a model with an unbuilt layer one extra time, uncompiled.
        self.built = True

    def call(self, tensor: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """Returns the mask."""
        del tensor
        return mask

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None) -> None:
        """Returns `None`, since the output has no mask."""
        del inputs, previous_mask
