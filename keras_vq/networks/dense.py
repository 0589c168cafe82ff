"""Encoder and decoder of dense layers."""

from collections.abc import Sequence

from keras import layers

from keras_vq.networks._shapes import check_image_shape, check_widths
from keras_vq.networks.pair import (
    EncoderDecoder,
    latent_shape,
    output_bias,
    output_layer,
    projection,
    sequential,
)


def dense(
    image_shape: tuple[int, int, int],
    units: Sequence[int] = (512, 256),
    latent_dim: int | None = 16,
    activation: str = "relu",
    output_activation: str | None = "clip",
) -> EncoderDecoder:
    """Builds an encoder and a decoder of dense layers, for images of any size.

    Args:
        image_shape: Tuple of integers. (height, width, channels).
        units: Sequence of integers. Width of each hidden layer of the encoder. The decoder mirrors
            them. Defaults to (512, 256).
        latent_dim: Integer. Size of the latent vector, the output of a dense layer. None omits this
            layer: the encoder returns features, as `VAE` expects, and the decoder accepts latents
            of any size. Defaults to 16.
        activation: String. Activation of the hidden layers. Defaults to "relu".
        output_activation: String. "clip" for a `StraightThroughClip` to [0, 1] (squared or absolute
            error), "sigmoid" (Bernoulli likelihood, the default of `VAE`), another Keras
            activation, or None for unbounded outputs. Defaults to "clip".

    Returns:
        An `EncoderDecoder`: images -> `(batch, latent_dim)` -> images.

    Raises:
        ValueError: If a shape or width is invalid.

    Example:
        >>> import keras_vq
        >>> encoder, decoder = keras_vq.networks.dense((8, 8, 1), units=(64,), latent_dim=4)
        >>> encoder.output_shape, decoder.output_shape
        ((None, 4), (None, 8, 8, 1))
    """
    height, width, channels = check_image_shape(image_shape, 1)
    units = check_widths("units", units)

    encoder = [
        layers.Flatten(data_format="channels_last"),
        *(layers.Dense(width, activation=activation) for width in units),
        *projection(latent_dim),
    ]
    decoder = [
        *(layers.Dense(width, activation=activation) for width in reversed(units)),
        layers.Dense(height * width * channels, bias_initializer=output_bias(output_activation)),
        layers.Reshape((height, width, channels)),
        output_layer(output_activation),
    ]
    return EncoderDecoder(
        sequential("encoder", (height, width, channels), encoder),
        sequential("decoder", latent_shape(latent_dim), decoder),
    )
