"""Encoder and decoder of strided convolutions and residual blocks."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_vq.layers.conv2d_transpose import Conv2DTranspose
from keras_vq.layers.residual_stack import ResidualStack
from keras_vq.networks._shapes import check_widths, padded_image_shape
from keras_vq.networks.pair import (
    EncoderDecoder,
    latent_shape,
    output_bias,
    output_layer,
    projection,
    sequential,
)


def residual_convolutional(
    image_shape: tuple[int, int, int],
    filters: Sequence[int] = (64, 128),
    latent_dim: int | None = 64,
    residual_blocks: int = 2,
    residual_filters: int = 32,
    output_activation: str | None = "clip",
    pad: bool = False,
) -> EncoderDecoder:
    """Builds the networks of the VQ-VAE paper: strided 4x4 convolutions and residual blocks.

    The decoder mirrors the encoder. With the defaults and 32 x 32 images they match Sonnet's
    CIFAR-10 notebook (728,771 parameters with a codebook of 512 and its moving averages), except
    for the bounds of the pixels. Source: van den Oord et al., "Neural Discrete Representation
    Learning", 2017, section 4.1.

    Args:
        image_shape: Tuple of integers. (height, width, channels). Height and width must be
            multiples of 2ⁿ, where n is the number of strided layers, unless `pad` is True.
        filters: Sequence of integers. Filters of each strided convolution of the encoder. The
            decoder mirrors them. Defaults to (64, 128).
        latent_dim: Integer. Channels of the latent map, the output of a 1x1 convolution. None omits
            this convolution: the encoder returns features, as `VAE` expects, and the decoder
            accepts latents with any number of channels. Defaults to 64.
        residual_blocks: Integer. Blocks per residual stack. Defaults to 2.
        residual_filters: Integer. Filters of the 3x3 convolution in each block. Defaults to 32.
        output_activation: String. "clip" for a `StraightThroughClip` to [0, 1] (squared or absolute
            error), "sigmoid" (Bernoulli likelihood, the default of `VAE`), another Keras
            activation, or None for unbounded outputs. Defaults to "clip".
        pad: Boolean. Whether to pad images if the strides do not divide their height or width: the
            encoder repeats the border pixels, and the decoder crops its outputs to `image_shape`.
            False raises an error for such sizes. Defaults to False.

    Returns:
        An `EncoderDecoder`: images -> `(batch, height / 2ⁿ, width / 2ⁿ, latent_dim)` -> images.

    Raises:
        ValueError: If a shape or width is invalid, or the strides do not divide the image size.

    Example:
        >>> import keras_vq
        >>> encoder, decoder = keras_vq.networks.residual_convolutional((32, 32, 3))
        >>> encoder.output_shape, encoder.count_params() + decoder.count_params()
        ((None, 8, 8, 64), 662723)
    """
    filters = check_widths("filters", filters)
    scale = 2 ** len(filters)
    shape, padding = padded_image_shape(image_shape, scale, pad)
    stack = (residual_blocks, residual_filters)
    encoder = [
        *padding.pad,
        *downsampling(filters, *stack),
        *projection(latent_dim, layers.Conv2D, kernel_size=1, data_format="channels_last"),
    ]
    decoder = [
        *upsampling(filters, shape[-1], *stack, output_bias(output_activation)),
        *padding.crop,
        output_layer(output_activation),
    ]
    map_shape = (size // scale for size in padding.sizes)
    return EncoderDecoder(
        sequential("encoder", shape, encoder),
        sequential("decoder", latent_shape(latent_dim, *map_shape), decoder),
    )


_SAME: dict[str, Any] = {"padding": "same", "data_format": "channels_last"}
_STRIDED: dict[str, Any] = {"kernel_size": 4, "strides": 2, **_SAME}


def downsampling(
    filters: Sequence[int], residual_blocks: int, residual_filters: int
) -> list[keras.Layer]:
    """Returns strided convolutions with the given filters, followed by a residual stack."""
    return [
        *(layers.Conv2D(width, activation="relu", **_STRIDED) for width in filters),
        layers.Conv2D(filters[-1], 3, **_SAME),
        ResidualStack(residual_blocks, residual_filters),
    ]


def upsampling(
    filters: Sequence[int],
    channels: int,
    residual_blocks: int,
    residual_filters: int,
    last_bias: Any = "zeros",
) -> list[keras.Layer]:
    """Returns the mirror image of `downsampling`: a residual stack and transposed convolutions.

    Args:
        filters: Sequence of integers. Filters of the strided convolutions to mirror.
        channels: Integer. Channels of the outputs.
        residual_blocks: Integer. Blocks of the residual stack.
        residual_filters: Integer. Filters of the 3x3 convolution in each block.
        last_bias: Initializer of the bias of the last layer. Defaults to "zeros".
    """
    widths = reversed(filters[:-1])
    return [
        layers.Conv2D(filters[-1], 3, **_SAME),
        ResidualStack(residual_blocks, residual_filters),
        *(Conv2DTranspose(width, activation="relu", **_STRIDED) for width in widths),
        Conv2DTranspose(channels, bias_initializer=last_bias, **_STRIDED),
    ]
