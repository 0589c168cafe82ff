"""Encoder and decoder of strided convolutions and residual blocks."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_vq import _validation
from keras_vq.layers.conv2d_transpose import Conv2DTranspose
from keras_vq.layers.residual_stack import ResidualStack
from keras_vq.networks._shapes import check_image_shape, check_widths, padding_to_multiple
from keras_vq.networks.pair import EncoderDecoder, output_bias, output_layer, sequential


def residual_convolutional(
    image_shape: tuple[int, int, int],
    filters: Sequence[int] = (64, 128),
    latent_dim: int | None = 64,
    residual_blocks: int = 2,
    residual_filters: int = 32,
    output_activation: str | None = "clip",
    pad: bool = False,
) -> EncoderDecoder:
    """The VQ-VAE paper's network: strided 4x4 convolutions, then residual blocks, and its mirror.

    With the defaults and 32 x 32 images it is that of Sonnet's CIFAR-10 notebook (728,771
    parameters with its codebook of 512 and the codebook's moving averages), apart from the
    bounds of the pixels. Source: van den Oord et al., "Neural Discrete Representation Learning",
    2017, section 4.1.

    Args:
        image_shape: (height, width, channels); 2 to the power of the number of strided layers
            must divide height and width, unless `pad` is True.
        filters: Filters of each strided convolution of the encoder; the decoder mirrors them.
        latent_dim: Channels of the latent map, by a 1x1 convolution; None leaves it out: the
            encoder then returns features, as a VAE takes them, and the decoder takes latents of
            any number of channels.
        residual_blocks: Blocks in each residual stack.
        residual_filters: Filters inside a block.
        output_activation: What bounds the pixels: "clip", a `StraightThroughClip` to [0, 1],
            suits squared and absolute errors; "sigmoid" a Bernoulli likelihood, the VAE's
            default; any other is Keras's; None leaves them as they are.
        pad: Boolean. Whether to pad images whose height or width the strides do not divide: the
            encoder repeats the pixels at the edge, the decoder crops its outputs to
            `image_shape`. False raises an error for such sizes.

    Returns:
        The pair: images -> `(batch, height / 2ⁿ, width / 2ⁿ, latent_dim)` -> images.

    Raises:
        ValueError: If a shape or width is not one, or the strides don't divide the images.

    Example:
        >>> import keras_vq
        >>> encoder, decoder = keras_vq.networks.residual_convolutional((32, 32, 3))
        >>> encoder.output_shape, encoder.count_params() + decoder.count_params()
        ((None, 8, 8, 64), 662723)
    """
    filters = check_widths("filters", filters)
    scale = 2 ** len(filters)
    height, width, channels = check_image_shape(image_shape, scale, pad)
    padding = padding_to_multiple((height, width), scale)
    encoder = [*padding.pad, *downsampling(filters, residual_blocks, residual_filters)]
    if latent_dim is not None:
        _validation.check_positive_integer("latent_dim", latent_dim)
        encoder.append(layers.Conv2D(latent_dim, 1, data_format="channels_last"))
    decoder = [
        *upsampling(
            filters, channels, residual_blocks, residual_filters, output_bias(output_activation)
        ),
        *padding.crop,
        output_layer(output_activation),
    ]
    map_shape = tuple(size // scale for size in padding.sizes)
    latent_shape = None if latent_dim is None else (*map_shape, latent_dim)
    return EncoderDecoder(
        sequential("encoder", (height, width, channels), encoder),
        sequential("decoder", latent_shape, decoder),
    )


_SAME: dict[str, Any] = {"padding": "same", "data_format": "channels_last"}
_STRIDED: dict[str, Any] = {"kernel_size": 4, "strides": 2, **_SAME}


def downsampling(
    filters: Sequence[int], residual_blocks: int, residual_filters: int
) -> list[keras.Layer]:
    """Strided convolutions of the filters given, then the residual stack."""
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
    """The mirror of `downsampling`, up to as many channels; how the last bias starts."""
    widths = reversed(filters[:-1])
    return [
        layers.Conv2D(filters[-1], 3, **_SAME),
        ResidualStack(residual_blocks, residual_filters),
        *(Conv2DTranspose(width, activation="relu", **_STRIDED) for width in widths),
        Conv2DTranspose(channels, bias_initializer=last_bias, **_STRIDED),
    ]
