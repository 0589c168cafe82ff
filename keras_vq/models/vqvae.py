"""Vector-quantized variational autoencoder (VQ-VAE)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.kmeans import Start
from keras_vq.models.code_model import CodeModel, check_quantizer
from keras_vq.quantizers.base import Quantizer


@keras.saving.register_keras_serializable("keras_vq")
class VQVAE(CodeModel):
    """Vector-quantized variational autoencoder (VQ-VAE): encodes an input to a grid of codes.

    The loss is the reconstruction term plus the losses of the quantizer: the commitment loss, and
    the codebook loss if the codebook is trained by gradient. The default reconstruction term is the
    mean squared error divided by the variance of the targets, in training and evaluation: a
    constant output of the mean value has a loss of 1 on every dataset. A `loss` passed to `compile`
    is not divided. Source: van den Oord et al., "Neural Discrete Representation Learning", 2017;
    the division: its authors' notebook in Sonnet.

    Args:
        encoder: Layer or model that maps inputs to latents of shape `(batch, ..., dim)`.
        quantizer: A `Quantizer` of vectors of that dimension.
        decoder: Layer or model that maps quantized latents to reconstructions.
        data_variance: Float or `None`. Variance of the targets, by which the default loss is
            divided. If it is `None`, the variance is measured on the first data that are not
            constant, in `fit` or any other method that computes the loss, and saved with the
            weights. Defaults to `None`.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: Float tensor of shape `(batch, ...)`.

    Returns:
        A dictionary with `reconstruction` and `codes` (int32, of shape
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
        """Builds the encoder, the quantizer and the decoder for batches of inputs."""
        latent_shape = self._build_encoder(input_shape)
        self.quantizer._build_for(latent_shape)
        self._build_decoder(latent_shape)
        self._code_shape = tuple(self.quantizer._compute_codes_shape(latent_shape)[1:])
        super()._build_parts(input_shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Reconstructs a batch of inputs from their codes."""
        z = self.encoder(inputs, training=training)
        z_q, codes = self.quantizer(z, training=training, return_codes=True)
        x_hat = self.decoder(z_q, training=training)
        return {"reconstruction": x_hat, "codes": codes}

    @property
    def code_shape(self) -> Shape | None:
        """Shape of the codes of one input, e.g. `(7, 7)`, or `(7, 7, L)` with L codes per vector.

        `None` until the model is built. Axes whose size differs between inputs are `None`.
        """
        return self._code_shape

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size of each code of a vector, as a tuple of one or L integers."""
        return self.quantizer.codebook_sizes

    def _quantizers(self) -> dict[str, Quantizer]:
        """Returns the only quantizer, with an empty suffix."""
        return {"": self.quantizer}

    def adapt(self, inputs: Any, start: Start = "kmeans", batch_size: int = 128) -> None:
        """Initializes the codebook from the latents of inputs, before training.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.
            start: String. `"kmeans"` or `"first"`; see `Codebook.adapt`. Defaults to
                `"kmeans"`.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.
        """
        self.quantizer.adapt(
            self._in_batches(self._latents_batch, inputs, batch_size, "inputs"),
            start=start,
        )

    def _encode_quantized_batch(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to quantized latents."""
        z = self.encoder(inputs, training=False)
        return self.quantizer(z, training=False, return_codes=False)

    def _latents_batch(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to latents before quantization."""
        return self.encoder(inputs, training=False)

    def _interpolate_batch(self, latents: Tensor) -> Tensor:
        """Quantizes a batch of interpolated latents and decodes them."""
        return self._decode_quantized_batch(
            self.quantizer(latents, training=False, return_codes=False)
        )

    def _encode_batch(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to codes, which are -1 where the encoder masks."""
        z = self.encoder(inputs, training=False)
        return self.quantizer.encode(z, mask=self._mask_of(z))

    def _lookup(self, codes: Tensor) -> Tensor:
        """Looks up the quantized latents of a batch of codes."""
        return self.quantizer.decode(codes)

    def _decode_batch(self, codes: Tensor) -> Tensor:
        """Decodes a batch of codes to reconstructions.

        A decoder that supports masking receives a mask that is false where a code is -1.
        """
        if not getattr(self.decoder, "supports_masking", False):
            return super()._decode_batch(codes)
        first_stage = codes[..., 0] if self.quantizer.code_shape else codes
        mask = ops.greater_equal(first_stage, 0)
        return self.decoder(self._lookup(codes), training=False, mask=mask)

    def encode(self, inputs: Any, batch_size: int = 128) -> np.ndarray:
        """Encodes inputs to codes.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.

        Returns:
            Int32 array of shape `(n, *code_shape)`, e.g. `(n, 7, 7)`; -1 where the encoder masks.
        """
        return self._in_batches(self._encode_batch, inputs, batch_size, "inputs")

    def decode(self, codes: Any, batch_size: int = 128) -> np.ndarray:
        """Decodes codes to reconstructions; `decode(encode(x))` equals `reconstruct(x)`.

        Args:
            codes: Integer array of shape `(n, *code_shape)`, with values in `[0, codebook_size)`,
                or -1 for a zero latent.
            batch_size: Integer. Batch size. Defaults to 128.

        Returns:
            Float32 array of shape `(n, ...)`.

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
