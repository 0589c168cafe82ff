"""VQ-VAE-2: a VQ-VAE with codes at two scales, top (coarse) and bottom (fine)."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from keras_vq._building import build_part
from keras_vq._inputs import SOURCES, is_read_once
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.kmeans import Start
from keras_vq.models.base import check_layer
from keras_vq.models.code_model import CodeModel, check_quantizer
from keras_vq.models.hierarchical_codes import HierarchicalCodes
from keras_vq.quantizers.base import Quantizer


@keras.saving.register_keras_serializable("keras_vq")
class VQVAE2(CodeModel):
    """VQ-VAE-2: encodes an image to codes at two scales, top (coarse) and bottom (fine).

    The top latents are quantized first. The bottom latents are computed from the features of the
    bottom encoder and the decoded top codes, so that the bottom codes represent the details that
    the top codes lack. The decoder receives the quantized latents of both scales, concatenated
    after upsampling the top to the size of the bottom. Source: Razavi et al., "Generating Diverse
    High-Fidelity Images with VQ-VAE-2", 2019, section 3.1 and algorithm 1.

    The loss is that of `VQVAE`, with the losses of both quantizers. Logs report `perplexity_top`,
    `codebook_usage_top`, `perplexity_bottom` and `codebook_usage_bottom`.

    The latents of `encode_latents`, `encode_quantized` and `decode_quantized` are one array of the
    size of the bottom scale, with the channels of the top scale first. Exported models represent
    the codes of an image as one vector: the top codes in row-major order, then the bottom codes.

    Args:
        bottom_encoder: Layer or model that maps inputs to features of shape
            `(batch, height, width, channels)`.
        top_encoder: Layer or model that maps these features to top latents, downsampled by an
            integer factor in height and in width.
        top_decoder: Layer or model that maps quantized top latents to features of the height and
            width of those of `bottom_encoder`.
        bottom_head: Layer or model that maps the concatenated features of `bottom_encoder` and
            `top_decoder` to bottom latents; a 1x1 convolution in the paper.
        decoder: Layer or model that maps the concatenated quantized latents of both scales to
            images.
        top_quantizer: A `Quantizer` of the top latents.
        bottom_quantizer: A `Quantizer` of the bottom latents.
        data_variance: Float or `None`. Variance of the targets, by which the default loss is
            divided. If it is `None`, the variance is measured on the first data that are not
            constant, in `fit` or any other method that computes the loss, and saved with the
            weights. Defaults to `None`.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: Float tensor of shape `(batch, height, width, channels)`.
            Height and width are fixed when the model is built.

    Returns:
        A dictionary with `reconstruction` and `codes` (a `HierarchicalCodes` of int32
        tensors, each of shape `latents.shape[:-1] + quantizer.code_shape`).

    Raises:
        ValueError: If an argument is out of range, or the sizes of the two scales do not match.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> networks = keras_vq.networks.hierarchical((8, 8, 1), filters=(8,), latent_dim=4)
        >>> model = keras_vq.VQVAE2(
        ...     *networks,
        ...     top_quantizer=keras_vq.VectorQuantizer(16),
        ...     bottom_quantizer=keras_vq.VectorQuantizer(32),
        ... )
        >>> model.compile("adam")
        >>> history = model.fit(images, epochs=1, verbose=0)
        >>> top, bottom = model.encode(images)
        >>> top.shape, bottom.shape
        ((64, 2, 2), (64, 4, 4))
        >>> model.decode((top, bottom)).shape
        (64, 8, 8, 1)
        >>> model.code_shape, model.codebook_sizes
        (HierarchicalCodes(top=(2, 2), bottom=(4, 4)), HierarchicalCodes(top=(16,), bottom=(32,)))
    """

    _part_names: tuple[str, ...] = (
        "bottom_encoder",
        "top_encoder",
        "top_decoder",
        "bottom_head",
        "decoder",
        "top_quantizer",
        "bottom_quantizer",
    )

    def __init__(
        self,
        bottom_encoder: keras.Layer,
        top_encoder: keras.Layer,
        top_decoder: keras.Layer,
        bottom_head: keras.Layer,
        decoder: keras.Layer,
        top_quantizer: Quantizer,
        bottom_quantizer: Quantizer,
        data_variance: float | None = None,
        **kwargs: Any,
    ) -> None:
        check_layer("bottom_encoder", bottom_encoder)
        super().__init__(bottom_encoder, decoder, data_variance, **kwargs)
        self.top_encoder = check_layer("top_encoder", top_encoder)
        self.top_decoder = check_layer("top_decoder", top_decoder)
        self.bottom_head = check_layer("bottom_head", bottom_head)
        self.top_quantizer = check_quantizer("top_quantizer", top_quantizer)
        self.bottom_quantizer = check_quantizer("bottom_quantizer", bottom_quantizer)
        self._code_shape: Any = None  # a HierarchicalCodes, once built
        self._build_if_known()

    def _build_parts(self, input_shape: Shape) -> None:
        """Builds all parts for batches of inputs of shape `input_shape`."""
        if None in input_shape[1:]:
            raise ValueError(
                "The input size of a VQVAE2 must be known. Add an Input of that shape to the "
                f"bottom encoder. Received: shape {tuple(input_shape)}"
            )
        features: Any = self._build_encoder(input_shape)
        top: Any = build_part(self.top_encoder, features)
        decoded: Any = build_part(self.top_decoder, top)
        if decoded[:-1] != features[:-1]:
            raise ValueError(
                "The outputs of `top_decoder` must have the height and width of the bottom "
                f"features, {features[1:-1]}. Received: {decoded[1:-1]}"
            )
        bottom: Any = build_part(self.bottom_head, (*features[:-1], features[-1] + decoded[-1]))
        if len(top) != 4 or len(bottom) != 4 or bottom[1] % top[1] or bottom[2] % top[2]:
            raise ValueError(
                "The latents must have shape (height, width, channels), and the height and width "
                "of the bottom scale must be multiples of those of the top scale. "
                f"Received: bottom {bottom[1:]} and top {top[1:]}"
            )
        self.factors = (bottom[1] // top[1], bottom[2] // top[2])
        self.repeat = layers.UpSampling2D(
            self.factors, data_format="channels_last", interpolation="nearest"
        )
        self.top_dim = top[-1]
        for quantizer, shape in ((self.top_quantizer, top), (self.bottom_quantizer, bottom)):
            quantizer._build_for(shape)
        self._build_decoder((*bottom[:-1], top[-1] + bottom[-1]))
        self._code_shape = HierarchicalCodes(
            tuple(self.top_quantizer._compute_codes_shape(top)[1:]),
            tuple(self.bottom_quantizer._compute_codes_shape(bottom)[1:]),
        )
        super()._build_parts(input_shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> dict[str, Any]:
        """Reconstructs a batch of inputs from their codes."""
        top, bottom = self._quantized(inputs, training)
        x_hat = self.decoder(self._joined(top.quantized, bottom.quantized), training=training)
        return {"reconstruction": x_hat, "codes": HierarchicalCodes(top.codes, bottom.codes)}

    def _quantized(self, inputs: Tensor, training: bool | None) -> tuple["_Scale", "_Scale"]:
        h_bottom = self.bottom_encoder(inputs, training=training)
        z_top = self.top_encoder(h_bottom, training=training)
        e_top, top = self.top_quantizer(z_top, training=training, return_codes=True)

        h_top = self.top_decoder(e_top, training=training)
        z_bottom = self.bottom_head(ops.concatenate([h_bottom, h_top], axis=-1), training=training)
        e_bottom, bottom = self.bottom_quantizer(z_bottom, training=training, return_codes=True)
        return _Scale(z_top, e_top, top), _Scale(z_bottom, e_bottom, bottom)

    def _joined(self, top: Tensor, bottom: Tensor) -> Tensor:
        """Concatenates top vectors, upsampled to the bottom's size, and bottom vectors."""
        return ops.concatenate([self.repeat(top), bottom], axis=-1)

    @property
    def bottom_encoder(self) -> keras.Layer:
        """Network that encodes the inputs, the same as `encoder`."""
        return self.encoder

    @property
    def code_shape(self) -> HierarchicalCodes | None:
        """Shapes of the codes of one input, e.g. `(4, 4)` and `(8, 8)`; `None` until built."""
        return self._code_shape

    @property
    def codebook_sizes(self) -> HierarchicalCodes:
        """Codebook sizes of both scales; see `VQVAE.codebook_sizes`."""
        return HierarchicalCodes(
            self.top_quantizer.codebook_sizes, self.bottom_quantizer.codebook_sizes
        )

    def _quantizers(self) -> dict[str, Quantizer]:
        """Returns the top and the bottom quantizer, by suffix of their metric names."""
        return {"_top": self.top_quantizer, "_bottom": self.bottom_quantizer}

    def adapt(self, inputs: Any, start: Start = "kmeans", batch_size: int = 128) -> None:
        """Initializes the top and then the bottom codebook from the latents of inputs.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.
            start: String. `"kmeans"` or `"first"`; see `Codebook.adapt`. Defaults to
                `"kmeans"`.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.

        Raises:
            ValueError: If the inputs can be read only once.
        """
        if is_read_once(inputs):
            raise ValueError(
                "`inputs` must not be a generator, because they are read once per scale. "
                f"Pass {SOURCES}. Received: {type(inputs).__name__}"
            )
        for method, quantizer in (
            (self._top_latents, self.top_quantizer),
            # The bottom latents depend on the new top codebook.
            (self._bottom_latents, self.bottom_quantizer),
        ):
            latents = self._in_batches(method, inputs, batch_size, "inputs")
            quantizer.adapt(latents, start=start)

    def _top_latents(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to top latents before quantization."""
        return self._quantized(inputs, training=False)[0].latents

    def _bottom_latents(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to bottom latents before quantization."""
        return self._quantized(inputs, training=False)[1].latents

    def _encode_quantized_batch(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to the quantized latents that the decoder takes."""
        top, bottom = self._quantized(inputs, training=False)
        return self._joined(top.quantized, bottom.quantized)

    def _latents_batch(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to the latents of both scales before quantization."""
        top, bottom = self._quantized(inputs, training=False)
        return self._joined(top.latents, bottom.latents)

    def _interpolate_batch(self, latents: Tensor) -> Tensor:
        """Quantizes a batch of interpolated latents and decodes them."""
        rows, columns = self.factors
        z_top = latents[:, ::rows, ::columns, : self.top_dim]
        z_bottom = latents[..., self.top_dim :]
        e_top = self.top_quantizer(z_top, training=False, return_codes=False)
        e_bottom = self.bottom_quantizer(z_bottom, training=False, return_codes=False)
        return self._decode_quantized_batch(self._joined(e_top, e_bottom))

    def _encode_batch(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to one vector of codes per input.

        The top codes come first, then the bottom codes, both in row-major order.
        """
        pair = (scale.codes for scale in self._quantized(inputs, training=False))
        return ops.concatenate(
            [
                ops.reshape(codes, (-1, _size(shape)))
                for codes, shape in zip(pair, self._code_shape, strict=True)
            ],
            axis=1,
        )

    def _lookup(self, codes: Tensor) -> Tensor:
        """Looks up the quantized latents of a batch of codes, one vector of codes per input."""
        top, bottom = (
            quantizer.decode(ops.reshape(part, (-1, *shape)))
            for quantizer, part, shape in zip(
                self._quantizers().values(), self._split(codes), self._code_shape, strict=True
            )
        )
        return self._joined(top, bottom)

    def _split(self, codes: Any) -> tuple[Any, Any]:
        places = _size(self._code_shape.top)
        return codes[:, :places], codes[:, places:]

    def encode(self, inputs: Any, batch_size: int = 128) -> HierarchicalCodes:
        """Encodes inputs to codes.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.

        Returns:
            A `HierarchicalCodes` of int32 arrays of shapes `(n, *code_shape.top)` and
            `(n, *code_shape.bottom)`.
        """
        vectors = self._in_batches(self._encode_batch, inputs, batch_size, "inputs")
        parts = zip(self._split(vectors), self._code_shape, strict=True)
        return HierarchicalCodes(*(part.reshape((-1, *shape)) for part, shape in parts))

    def decode(self, codes: Any, batch_size: int = 128) -> np.ndarray:
        """Decodes codes to reconstructions; `decode(encode(x))` equals `reconstruct(x)`.

        Args:
            codes: Pair of integer arrays, top and bottom, in the form that `encode`
                returns. Values are in `[0, codebook_size)` of their scale, or -1 for a zero latent.
            batch_size: Integer. Batch size. Defaults to 128.

        Returns:
            Float32 array of shape `(n, ...)`.

        Raises:
            ValueError: If `codes` is not a pair of arrays of the shapes in `code_shape`, or the
                codes are not integers or are out of range.
        """
        if not isinstance(codes, tuple | list) or len(codes) != 2:
            raise ValueError(
                "`codes` must be a pair of arrays (top, bottom), as returned by `encode`. "
                f"Received: {type(codes).__name__}"
            )
        vectors = []
        for name, part in HierarchicalCodes(*codes)._asdict().items():
            shape = getattr(self._code_shape, name, None)
            quantizer = getattr(self, f"{name}_quantizer")
            part = self._checked_codes(f"codes.{name}", part, quantizer, shape)
            vectors.append(part.reshape(len(part), math.prod(part.shape[1:])))
        if len(vectors[0]) != len(vectors[1]):
            raise ValueError(
                "The top and bottom `codes` must have the same number of rows. "
                f"Received: {len(vectors[0])} and {len(vectors[1])}"
            )
        return self._in_batches(self._decode_batch, np.concatenate(vectors, axis=1), batch_size)


class _Scale(NamedTuple):
    """Latents, quantized latents and codes of a batch at one scale."""

    latents: Tensor
    quantized: Tensor
    codes: Tensor


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))
