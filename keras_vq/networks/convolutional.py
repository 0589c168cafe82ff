"""Encoder and decoder of strided convolutions."""

from collections.abc import Sequence
from typing import Any

from keras import layers

from keras_vq import _validation
from keras_vq.layers.conv2d_transpose import Conv2DTranspose
from keras_vq.networks._shapes import check_image_shape, check_widths, padding_to_multiple
from keras_vq.networks.pair import EncoderDecoder, output_bias, output_layer, sequential


def convolutional(
    image_shape: tuple[int, int, int],
    filters: Sequence[int] = (32, 64),
    latent_dim: int | None = 16,
    kernel_size: int = 3,
    activation: str = "relu",
    output_activation: str | None = "clip",
    pad: bool = False,
) -> EncoderDecoder:
    """An encoder of convolutions with stride 2, and the decoder that mirrors it.

    With the defaults and 28 x 28 images it is the network of the VQ-VAE example of keras.io,
    apart from the bounds of the pixels.

    Args:
        image_shape: (height, width, channels); 2 to the power of the number of strided layers
            must divide height and width, unless `pad` is True.
        filters: Filters of each strided convolution of the encoder; the decoder mirrors them.
        latent_dim: Channels of the latent map, by a 1x1 convolution; None leaves it out: the
            encoder then returns features, as a VAE takes them, and the decoder takes latents of
            any number of channels.
        kernel_size: Size of the kernels.
        activation: Activation of the hidden layers.
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
        >>> encoder, decoder = keras_vq.networks.convolutional((32, 32, 3), filters=(32, 64, 64))
        >>> encoder.output_shape
        (None, 4, 4, 16)
    """
    filters = check_widths("filters", filters)
    scale = 2 ** len(filters)
    height, width, channels = check_image_shape(image_shape, scale, pad)
    padding = padding_to_multiple((height, width), scale)
    last: dict[str, Any] = {"data_format": "channels_last"}
    options = {"strides": 2, "padding": "same", "activation": activation, **last}

    encoder = [*padding.pad, *(layers.Conv2D(width, kernel_size, **options) for width in filters)]
    if latent_dim is not None:
        _validation.check_positive_integer("latent_dim", latent_dim)
        encoder.append(layers.Conv2D(latent_dim, 1, **last))
    decoder = [
        *(Conv2DTranspose(width, kernel_size, **options) for width in reversed(filters)),
        Conv2DTranspose(
            channels,
            kernel_size,
            padding="same",
            bias_initializer=output_bias(output_activation),
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
