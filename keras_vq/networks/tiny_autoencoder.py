"""Tiny convolutional encoder and decoder (TAESD)."""

from collections.abc import Sequence
from typing import Any

from keras import layers

from keras_vq import _validation
from keras_vq.layers.post_activation_block import PostActivationBlock
from keras_vq.networks._shapes import check_widths, dynamic_image_shape
from keras_vq.networks.pair import (
    EncoderDecoder,
    latent_shape,
    output_bias,
    output_layer,
    projection,
    sequential,
)

# Latents are limited to about this magnitude, x -> 3 tanh(x / 3).
_LARGEST_LATENT = 3.0
_SAME: dict[str, Any] = {"padding": "same", "data_format": "channels_last"}


def tiny_autoencoder(
    image_shape: tuple[int | None, int | None, int] = (None, None, 3),
    filters: int = 64,
    latent_dim: int | None = 4,
    blocks: Sequence[int] = (1, 3, 3, 3),
    decoder_blocks: Sequence[int] | None = None,
    activation: str = "relu",
    output_activation: str | None = "clip",
) -> EncoderDecoder:
    """Builds the small encoder and decoder of TAESD: 3x3 convolutions without normalization.

    Each resolution is a strided convolution and residual blocks. The decoder limits latents to
    [-3, 3] with a tanh and upsamples by nearest neighbors. With the defaults these are the networks
    of TAESD (the tiny autoencoder for Stable Diffusion, Boer Bohan, 2023), with 2.4 million
    parameters and one latent vector per 8 x 8 pixels.

    Args:
        image_shape: Tuple. (height, width, channels). Height and width must be multiples of
            2ⁿ⁻¹, where n is the number of resolutions, or `None` for any such size. Defaults to
            (None, None, 3).
        filters: Integer. Filters of all convolutions. Defaults to 64.
        latent_dim: Integer. Channels of the latent map. `None` omits the last convolution of the
            encoder, as `VAE` expects. Defaults to 4.
        blocks: Sequence of integers. Residual blocks of the encoder at each resolution, finest
            first. Defaults to (1, 3, 3, 3).
        decoder_blocks: Sequence of integers. Residual blocks of the decoder, coarsest first.
            Defaults to `None`, for those of the encoder in reverse order.
        activation: String. Activation inside the blocks. Defaults to "relu".
        output_activation: String. "clip", "sigmoid", another Keras activation, or `None` for
            unbounded outputs; see `convolutional`. Defaults to "clip".

    Returns:
        An `EncoderDecoder`: images -> `(batch, height / 2ⁿ⁻¹, width / 2ⁿ⁻¹, latent_dim)` -> images.

    Raises:
        ValueError: If a shape or number is invalid, or the strides do not divide the image size.

    Example:
        >>> import keras_vq
        >>> encoder, decoder = keras_vq.networks.tiny_autoencoder()
        >>> encoder.output_shape, encoder.count_params() + decoder.count_params()
        ((None, None, None, 4), 2445063)
    """
    _validation.check_positive_integer("filters", filters)
    blocks = check_widths("blocks", blocks)
    decoder_blocks = check_widths("decoder_blocks", decoder_blocks or blocks[::-1])
    if len(decoder_blocks) != len(blocks):
        raise ValueError(
            "`decoder_blocks` must have one entry per resolution, as `blocks` has. "
            f"Received: {len(decoder_blocks)} and {len(blocks)} entries"
        )
    shape, map_shape = dynamic_image_shape(image_shape, 2 ** (len(blocks) - 1))

    def residual(count: int) -> list[Any]:
        return [PostActivationBlock(activation=activation) for _ in range(count)]

    encoder: list[Any] = []
    for level, count in enumerate(blocks):
        if level:
            # The strided convolutions of the source pad both sides.
            encoder.append(layers.ZeroPadding2D(1, data_format="channels_last"))
            strided = {"strides": 2, "use_bias": False, "data_format": "channels_last"}
            encoder.append(layers.Conv2D(filters, 3, **strided))
        else:
            encoder.append(layers.Conv2D(filters, 3, **_SAME))
        encoder += residual(count)
    encoder += projection(latent_dim, layers.Conv2D, kernel_size=3, **_SAME)

    decoder: list[Any] = [
        layers.Rescaling(1 / _LARGEST_LATENT),
        layers.Activation("tanh"),
        layers.Rescaling(_LARGEST_LATENT),
        layers.Conv2D(filters, 3, activation=activation, **_SAME),
    ]
    for level, count in enumerate(decoder_blocks):
        if level:
            decoder.append(layers.UpSampling2D(2, data_format="channels_last"))
            decoder.append(layers.Conv2D(filters, 3, use_bias=False, **_SAME))
        decoder += residual(count)
    last_bias = output_bias(output_activation)
    decoder.append(layers.Conv2D(shape[-1], 3, bias_initializer=last_bias, **_SAME))
    decoder.append(output_layer(output_activation))
    return EncoderDecoder(
        sequential("encoder", shape, encoder),
        sequential("decoder", latent_shape(latent_dim, *map_shape), decoder),
    )
