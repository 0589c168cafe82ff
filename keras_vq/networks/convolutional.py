"""Encoder and decoder of strided convolutions."""

from collections.abc import Sequence
from typing import Any

from keras import layers

from keras_vq.layers.conv2d_transpose import Conv2DTranspose
from keras_vq.networks._shapes import check_widths, padded_image_shape
from keras_vq.networks.pair import (
    EncoderDecoder,
    latent_shape,
    output_bias,
    output_layer,
    projection,
    sequential,
)


def convolutional(
    image_shape: tuple[int, int, int],
    filters: Sequence[int] = (32, 64),
    latent_dim: int | None = 16,
    kernel_size: int = 3,
    activation: str = "relu",
    output_activation: str | None = "clip",
    pad: bool = False,
) -> EncoderDecoder:
    """Builds an encoder of stride-2 convolutions, and the decoder that mirrors it.

    With the defaults and 28 x 28 images this is the network of the keras.io VQ-VAE example, except
    for the bounds of the pixels.

    Args:
        image_shape: Tuple of integers. (height, width, channels). Height and width must be
            multiples of 2ⁿ, where n is the number of strided layers, unless `pad` is True.
        filters: Sequence of integers. Filters of each strided convolution of the encoder. The
            decoder mirrors them. Defaults to (32, 64).
        latent_dim: Integer. Channels of the latent map, the output of a 1x1 convolution. None omits
            this convolution: the encoder returns features, as `VAE` expects, and the decoder
            accepts latents with any number of channels. Defaults to 16.
        kernel_size: Integer. Size of the kernels. Defaults to 3.
        activation: String. Activation of the hidden layers. Defaults to "relu".
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
        >>> encoder, decoder = keras_vq.networks.convolutional((32, 32, 3), filters=(32, 64, 64))
        >>> encoder.output_shape
        (None, 4, 4, 16)
    """
    filters = check_widths("filters", filters)
    scale = 2 ** len(filters)
    shape, padding = padded_image_shape(image_shape, scale, pad)
    last: dict[str, Any] = {"data_format": "channels_last"}
    options = {"strides": 2, "padding": "same", "activation": activation, **last}

    encoder = [
        *padding.pad,
        *(layers.Conv2D(width, kernel_size, **options) for width in filters),
        *projection(latent_dim, layers.Conv2D, kernel_size=1, **last),
    ]
    decoder = [
        *(Conv2DTranspose(width, kernel_size, **options) for width in reversed(filters)),
        Conv2DTranspose(
            shape[-1],
            kernel_size,
            padding="same",
            bias_initializer=output_bias(output_activation),
        ),
        *padding.crop,
        output_layer(output_activation),
    ]
    map_shape = (size // scale for size in padding.sizes)
    return EncoderDecoder(
        sequential("encoder", shape, encoder),
        sequential("decoder", latent_shape(latent_dim, *map_shape), decoder),
    )
