"""The VQ-VAE of two levels: a coarse grid of codes, and a fine one that adds what it lacks."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from keras_vq._building import build_part
from keras_vq._inputs import SOURCES, is_read_once
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import Start
from keras_vq.models.base import check_layer
from keras_vq.models.code_model import CodeModel, check_quantizer
from keras_vq.models.two_level_codes import TwoLevelCodes
from keras_vq.quantizers.base import Quantizer


@keras.saving.register_keras_serializable("keras_vq")
class VQVAE2(CodeModel):
    """Encodes an image to a coarse grid of codes and a fine one, and decodes the two.

    The top level, the coarse one, is quantized first. The bottom latents are made of the bottom
    encoder's features and of the decoded top codes, so that the bottom codes hold what the top
    ones lack. The decoder takes the vectors of both levels side by side, those of the top repeated
    to the bottom's size. Source: Razavi et al., "Generating Diverse High-Fidelity Images with
    VQ-VAE-2", 2019, section 3.1 and algorithm 1.

    The loss is that of `VQVAE`, with what both quantizers add. The logs name the levels:
    `perplexity_top`, `codebook_usage_top`, `perplexity_bottom`, `codebook_usage_bottom`.

    Latents of `encode`, `decode` and `interpolate` are what the decoder takes: one array of the
    bottom's size, the channels of the top first. Exported models have the codes of an image as
    one vector: those of the top row by row, then those of the bottom.

    Args:
        bottom_encoder: Layer or model: images -> features of shape
            `(batch, height, width, channels)`.
        top_encoder: Layer or model: those features -> top latents, fewer by a whole factor of
            rows and of columns.
        top_decoder: Layer or model: quantized top latents -> features of the bottom's size.
        bottom_head: Layer or model: the features of `bottom_encoder` and `top_decoder` side by
            side -> bottom latents; a 1x1 convolution in the paper's networks.
        decoder: Layer or model: quantized latents of both levels side by side -> images.
        top_quantizer: A `Quantizer` of the top latents.
        bottom_quantizer: A `Quantizer` of the bottom latents.
        data_variance: Variance of the target pixels, by which the default loss divides. None
            measures it on the first data with values that differ, of whichever method computes a
            loss, and keeps it with the weights.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`, pixels in [0, 1], of the
            one size for which the model is built.

    Returns:
        A dictionary: `reconstruction` (images), `codes` (a `TwoLevelCodes` of int32 tensors, each
        of the shape of its latents less the last axis, and the quantizer's `index_shape`).

    Raises:
        ValueError: If an argument is out of its range, or the sizes of the levels do not fit.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> networks = keras_vq.networks.two_level((8, 8, 1), filters=(8,), latent_dim=4)
        >>> model = keras_vq.VQVAE2(
        ...     *networks,
        ...     top_quantizer=keras_vq.VectorQuantizer(16),
        ...     bottom_quantizer=keras_vq.VectorQuantizer(32),
        ... )
        >>> model.compile("adam")
        >>> history = model.fit(images, epochs=1, verbose=0)
        >>> top, bottom = model.encode_to_codes(images)
        >>> top.shape, bottom.shape
        ((64, 2, 2), (64, 4, 4))
        >>> model.decode_codes((top, bottom)).shape
        (64, 8, 8, 1)
        >>> model.code_shape, model.codebook_sizes
        (TwoLevelCodes(top=(2, 2), bottom=(4, 4)), TwoLevelCodes(top=(16,), bottom=(32,)))
    """

    part_names: tuple[str, ...] = (
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
        self._code_shape: Any = None  # a TwoLevelCodes, once built
        self.build_if_known()

    def build_parts(self, input_shape: Shape) -> None:
        """Builds all parts for a batch of images."""
        if None in input_shape[1:]:
            raise ValueError(
                "VQVAE2 needs images of one known size, which its two grids of codes share: give "
                f"the bottom encoder an Input of that shape. Received: shape {tuple(input_shape)}"
            )
        features: Any = self.build_encoder(input_shape)
        top: Any = build_part(self.top_encoder, features)
        decoded: Any = build_part(self.top_decoder, top)
        if decoded[:-1] != features[:-1]:
            raise ValueError(
                "`top_decoder` must bring the top latents to the height and width of the bottom "
                f"features, {features[1:-1]}. Received: {decoded[1:-1]}"
            )
        bottom: Any = build_part(self.bottom_head, (*features[:-1], features[-1] + decoded[-1]))
        if len(top) != 4 or len(bottom) != 4 or bottom[1] % top[1] or bottom[2] % top[2]:
            raise ValueError(
                "The latents must be maps, and height and width of the bottom multiples of the "
                f"top's. Received: bottom {bottom[1:]} and top {top[1:]}"
            )
        self.factors = (bottom[1] // top[1], bottom[2] // top[2])
        self.repeat = layers.UpSampling2D(
            self.factors, data_format="channels_last", interpolation="nearest"
        )
        self.top_dim = top[-1]
        for quantizer, shape in ((self.top_quantizer, top), (self.bottom_quantizer, bottom)):
            if not quantizer.built:
                quantizer.build(shape)
        self.build_decoder((*bottom[:-1], top[-1] + bottom[-1]))
        self._code_shape = TwoLevelCodes(
            tuple(self.top_quantizer.indices_shape(top)[1:]),
            tuple(self.bottom_quantizer.indices_shape(bottom)[1:]),
        )
        super().build_parts(input_shape)

    def call(self, images: Tensor, training: bool | None = None) -> dict[str, Any]:
        """Reconstructs a batch of images from their codes."""
        top, bottom = self._quantized(images, training)
        x_hat = self.decoder(self._joined(top.quantized, bottom.quantized), training=training)
        return {"reconstruction": x_hat, "codes": TwoLevelCodes(top.codes, bottom.codes)}

    def _quantized(self, images: Tensor, training: bool | None) -> tuple["_Level", "_Level"]:
        h_bottom = self.bottom_encoder(images, training=training)
        z_top = self.top_encoder(h_bottom, training=training)
        e_top, top = self.top_quantizer(z_top, training=training, return_codes=True)

        h_top = self.top_decoder(e_top, training=training)
        z_bottom = self.bottom_head(ops.concatenate([h_bottom, h_top], axis=-1), training=training)
        e_bottom, bottom = self.bottom_quantizer(z_bottom, training=training, return_codes=True)
        return _Level(z_top, e_top, top), _Level(z_bottom, e_bottom, bottom)

    def _joined(self, top: Tensor, bottom: Tensor) -> Tensor:
        """Vectors of both levels side by side."""
        return ops.concatenate([self.repeat(top), bottom], axis=-1)

    @property
    def bottom_encoder(self) -> keras.Layer:
        """The network that takes the images."""
        return self.encoder

    @property
    def code_shape(self) -> TwoLevelCodes | None:
        """Shapes of the codes of one image, such as (4, 4) and (8, 8); None until it is built."""
        return self._code_shape

    @property
    def codebook_sizes(self) -> TwoLevelCodes:
        """How many values a code of each level may take; see `VQVAE.codebook_sizes`."""
        return TwoLevelCodes(
            self.top_quantizer.codebook_sizes, self.bottom_quantizer.codebook_sizes
        )

    def levels(self) -> dict[str, Quantizer]:
        """The two quantizers."""
        return {"_top": self.top_quantizer, "_bottom": self.bottom_quantizer}

    def adapt(self, images: Any, start: Start = "kmeans", batch_size: int = 128) -> None:
        """Places the codes among the latents of images, before training: first those of the top.

        Args:
            images: Array of shape `(n, height, width, channels)`, or a data set of such batches.
            start: How; see `BaseCodebook.adapt`.
            batch_size: Images computed at a time.
        """
        if is_read_once(images):
            raise ValueError(
                "`images` are read twice, for each level once, and a generator can be read only "
                f"once: pass {SOURCES}. Received: {type(images).__name__}"
            )
        for method, quantizer in (
            ("top_latents", self.top_quantizer),
            # Made of the top's codes as they then are.
            ("bottom_latents", self.bottom_quantizer),
        ):
            latents = self.in_batches(method, images, batch_size, self.image_shape)
            quantizer.adapt(latents, start=start)

    def top_latents(self, images: Tensor) -> Tensor:
        """Latents of the top level of a batch of images, before they are quantized."""
        return self._quantized(images, training=False)[0].latents

    def bottom_latents(self, images: Tensor) -> Tensor:
        """Latents of the bottom level of a batch of images, before they are quantized."""
        return self._quantized(images, training=False)[1].latents

    def encode_batch(self, images: Tensor) -> Tensor:
        """Quantized latents of a batch of images: what the decoder takes."""
        top, bottom = self._quantized(images, training=False)
        return self._joined(top.quantized, bottom.quantized)

    def continuous_latents(self, images: Tensor) -> Tensor:
        """Latents of both levels of a batch of images, before they are quantized."""
        top, bottom = self._quantized(images, training=False)
        return self._joined(top.latents, bottom.latents)

    def interpolate_batch(self, latents: Tensor) -> Tensor:
        """Images of latents that are quantized first."""
        rows, columns = self.factors
        z_top = latents[:, ::rows, ::columns, : self.top_dim]
        z_bottom = latents[..., self.top_dim :]
        e_top = self.top_quantizer(z_top, training=False, return_codes=False)
        e_bottom = self.bottom_quantizer(z_bottom, training=False, return_codes=False)
        return self.decode_batch(self._joined(e_top, e_bottom))

    def encode_to_codes_batch(self, images: Tensor) -> Tensor:
        """Codes of a batch of images, one vector each: the top's row by row, then the bottom's."""
        pair = (level.codes for level in self._quantized(images, training=False))
        return ops.concatenate(
            [
                ops.reshape(codes, (-1, _size(shape)))
                for codes, shape in zip(pair, self._code_shape, strict=True)
            ],
            axis=1,
        )

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """Quantized latents of a batch of codes, one vector each."""
        top, bottom = (
            quantizer.decode(ops.reshape(part, (-1, *shape)))
            for quantizer, part, shape in zip(
                self.levels().values(), self._split(codes), self._code_shape, strict=True
            )
        )
        return self._joined(top, bottom)

    def _split(self, codes: Any) -> tuple[Any, Any]:
        places = _size(self._code_shape.top)
        return codes[:, :places], codes[:, places:]

    def encode_to_codes(self, images: Any, batch_size: int = 128) -> TwoLevelCodes:
        """Codes of images.

        Args:
            images: Array of shape `(n, height, width, channels)`, or a data set of such batches.
            batch_size: Integer. Batch size; a data set has its own.

        Returns:
            Two int32 arrays of the shapes `(n, *code_shape.top)` and `(n, *code_shape.bottom)`.
        """
        vectors = self.in_batches("encode_to_codes_batch", images, batch_size, self.image_shape)
        parts = zip(self._split(vectors), self._code_shape, strict=True)
        return TwoLevelCodes(*(part.reshape((-1, *shape)) for part, shape in parts))

    def decode_codes(self, codes: Any, batch_size: int = 128) -> np.ndarray:
        """Images of codes; `decode_codes(encode_to_codes(x))` equals `reconstruct(x)`.

        Args:
            codes: A pair of integer arrays, top and bottom, as `encode_to_codes` returns them;
                values in `[0, codebook_size)` of their level, or -1 for a zero latent.
            batch_size: Images computed at a time.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.

        Raises:
            ValueError: If there are not two arrays of the shapes of `code_shape`, or a code is not
                a whole number or out of range.
        """
        if not isinstance(codes, tuple | list) or len(codes) != 2:
            raise ValueError(
                "`codes` must be a pair of arrays, top and bottom, as `encode_to_codes` returns "
                f"them. Received: {type(codes).__name__}"
            )
        vectors = []
        for name, part in TwoLevelCodes(*codes)._asdict().items():
            shape = getattr(self._code_shape, name, None)
            quantizer = getattr(self, f"{name}_quantizer")
            part = self._checked_codes(f"codes.{name}", part, quantizer, shape)
            vectors.append(part.reshape(len(part), math.prod(part.shape[1:])))
        if len(vectors[0]) != len(vectors[1]):
            raise ValueError(
                "`codes` must hold as many images in its top as in its bottom. "
                f"Received: {len(vectors[0])} and {len(vectors[1])}"
            )
        return self.in_batches("decode_codes_batch", np.concatenate(vectors, axis=1), batch_size)


class _Level(NamedTuple):
    """What a level makes of a batch."""

    latents: Tensor
    quantized: Tensor
    codes: Tensor


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))
