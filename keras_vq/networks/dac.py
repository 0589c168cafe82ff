"""Encoder and decoder of the Descript audio codec (DAC)."""

import math
from collections.abc import Sequence
from typing import Any

from keras import layers

from keras_vq import _validation
from keras_vq._types import Tensor
from keras_vq.layers.convolution_padding_1d import ConvolutionPadding1D
from keras_vq.layers.snake import Snake
from keras_vq.networks._shapes import check_widths, dynamic_sequence_shape
from keras_vq.networks.pair import EncoderDecoder, functional, output_layer

_DILATIONS = (1, 3, 9)
_FORMAT: dict[str, Any] = {"data_format": "channels_last"}
_SAME: dict[str, Any] = {"padding": "same", **_FORMAT}


def dac(
    sequence_shape: tuple[int | None, int] = (None, 1),
    filters: int = 64,
    decoder_filters: int = 1536,
    latent_dim: int | None = None,
    strides: Sequence[int] = (2, 4, 8, 8),
    output_activation: str | None = "tanh",
) -> EncoderDecoder:
    """Builds the encoder and decoder of DAC: dilated convolutions with Snake activations.

    Each resolution of the encoder has three residual units with dilations 1, 3 and 9, and a strided
    convolution that doubles the channels. The decoder mirrors it with transposed convolutions.
    Weight normalization is a parameterization of the same convolutions and is omitted. With the
    defaults these are the networks of the 44.1 kHz model. Source: Kumar et al., "High-Fidelity
    Audio Compression with Improved RVQGAN" (DAC), 2023.

    Args:
        sequence_shape: Tuple. (samples, channels). The number of samples must be a multiple of the
            product of the strides, or `None` for any number: zeros complete the last frame, and the
            decoder returns complete frames. Defaults to (None, 1).
        filters: Integer. Channels after the first convolution of the encoder. Defaults to 64.
        decoder_filters: Integer. Channels after the first convolution of the decoder, a multiple of
            2ⁿ, where n is the number of strides. Defaults to 1536.
        latent_dim: Integer. Channels of the latents. Defaults to `None`, for 2ⁿ `filters`.
        strides: Sequence of integers. Strides of the encoder. Defaults to (2, 4, 8, 8). The
            transposed convolutions of odd strides lack one step: zeros are added to the end of the
            outputs.
        output_activation: String. Keras activation of the outputs, or `None`. Defaults to "tanh".

    Returns:
        An `EncoderDecoder`: `(batch, T, C)` -> `(batch, ⌈T / product of strides⌉, latent_dim)` ->
        `(batch, T, C)`, with T rounded up.

    Raises:
        ValueError: If an argument is invalid, or the strides do not divide the samples.

    Example:
        >>> import keras_vq
        >>> encoder, decoder = keras_vq.networks.dac((1024, 1), filters=4, decoder_filters=32)
        >>> encoder.output_shape, decoder.output_shape
        ((None, 2, 64), (None, 1024, 1))
    """
    strides = check_widths("strides", strides)
    _validation.check_positive_integer("filters", filters)
    _validation.check_positive_integer("decoder_filters", decoder_filters)
    doublings = 2 ** len(strides)
    if decoder_filters % doublings:
        raise ValueError(
            f"`decoder_filters` must be a multiple of {doublings}, because each resolution halves "
            f"them. Received: {decoder_filters}"
        )
    latent_dim = _validation.check_positive_integer("latent_dim", latent_dim or filters * doublings)
    hop = math.prod(strides)
    (steps, channels), frames = dynamic_sequence_shape(sequence_shape, hop)

    def unit(x: Tensor, dilation: int, name: str) -> Tensor:
        width = x.shape[-1]
        residual = Snake(name=f"{name}_snake1")(x)
        residual = layers.Conv1D(width, 7, dilation_rate=dilation, name=f"{name}_conv1", **_SAME)(
            residual
        )
        residual = Snake(name=f"{name}_snake2")(residual)
        residual = layers.Conv1D(width, 1, name=f"{name}_conv2", **_FORMAT)(residual)
        return layers.Add(name=f"{name}_sum")([x, residual])

    def units(x: Tensor, name: str) -> Tensor:
        for place, dilation in enumerate(_DILATIONS, start=1):
            x = unit(x, dilation, f"{name}_res_unit{place}")
        return x

    def encode(x: Tensor) -> Tensor:
        x = ConvolutionPadding1D(hop, hop, mode="constant", name="padding_to_frames")(x)
        width = filters
        x = layers.Conv1D(width, 7, name="conv1", **_SAME)(x)
        for place, step in enumerate(strides):
            name = f"block_{place}"
            x = Snake(name=f"{name}_snake1")(units(x, name))
            width *= 2
            x = layers.ZeroPadding1D(-(-step // 2), name=f"{name}_padding", **_FORMAT)(x)
            x = layers.Conv1D(width, 2 * step, strides=step, name=f"{name}_conv1", **_FORMAT)(x)
        x = Snake(name="snake1")(x)
        return layers.Conv1D(latent_dim, 3, name="conv2", **_SAME)(x)

    def decode(x: Tensor) -> Tensor:
        width, lacking = decoder_filters, 0
        x = layers.Conv1D(width, 7, name="conv1", **_SAME)(x)
        for place, step in enumerate(reversed(strides)):
            name = f"block_{place}"
            width //= 2
            x = Snake(name=f"{name}_snake1")(x)
            x = layers.Conv1DTranspose(
                width, 2 * step, strides=step, name=f"{name}_conv_t1", **_FORMAT
            )(x)
            x = units(layers.Cropping1D(-(-step // 2), name=f"{name}_crop")(x), name)
            lacking = lacking * step + step % 2
        x = Snake(name="snake1")(x)
        x = layers.Conv1D(channels, 7, name="conv2", **_SAME)(x)
        if lacking:
            x = layers.ZeroPadding1D((0, lacking), name="padding_to_frames", **_FORMAT)(x)
        return output_layer(output_activation)(x)

    return EncoderDecoder(
        functional("encoder", (steps, channels), encode),
        functional("decoder", (frames, latent_dim), decode),
    )
