"""Encoder and decoder of strided convolutions."""

from collections.abc import Sequence

from keras import layers

from keras_vq import _validation
from keras_vq.layers.conv2d_transpose import Conv2DTranspose
from keras_vq.networks._shapes import check_image_shape, check_widths
from keras_vq.networks.pair import EncoderDecoder, output_bias, output_layer, sequential


def convolutional(
    image_shape: tuple[int, int, int],
    filters: Sequence[int] = (32, 64),
    latent_dim: int | None = 16,
    kernel_size: int = 3,
    activation: str = "relu",
    output_activation: str | None = "clip",
) -> EncoderDecoder:
    """An encoder of convolutions with stride 2, and the decoder that mirrors it.

    With the defaults and 28 x 28 images it is the network of the VQ-VAE example of keras.io,
    apart from the bounds of the pixels.

    Args:
        image_shape: (height, width, channels); 2 to the power of the number of strided layers
            must divide height and width.
        filters: Filters of each strided convolution of the encoder; the decoder mirrors them.
        latent_dim: Channels of the latent map, by a 1x1 convolution; None leaves the last
            strided layer's output as it is.
        kernel_size: Size of the kernels.
        activation: Activation of the hidden layers.
        output_activation: What bounds the pixels: "clip", a `StraightThroughClip` to [0, 1],
            suits squared and absolute errors; "sigmoid" a Bernoulli likelihood, the VAE's
            default; any other is Keras's; None leaves them as they are.

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
    height, width, channels = check_image_shape(image_shape, 2 ** len(filters))
    options = {"strides": 2, "padding": "same", "activation": activation}

    encoder = [layers.Conv2D(width, kernel_size, **options) for width in filters]
    if latent_dim is not None:
        _validation.check_positive_integer("latent_dim", latent_dim)
        encoder.append(layers.Conv2D(latent_dim, 1))
    decoder = [
        *(Conv2DTranspose(width, kernel_size, **options) for width in reversed(filters)),
        Conv2DTranspose(
            channels,
            kernel_size,
            padding="same",
            bias_initializer=output_bias(output_activation),
        ),
        output_layer(output_activation),
    ]
    scale = 2 ** len(filters)
    latent_shape = (height // scale, width // scale, latent_dim or filters[-1])
    return EncoderDecoder(
        sequential("encoder", (height, width, channels), encoder),
        sequential("decoder", latent_shape, decoder),
    )
