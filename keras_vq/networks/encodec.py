"""Encoder and decoder of EnCodec."""

import itertools
import math
from collections.abc import Sequence

from keras import layers

from keras_vq import _validation
from keras_vq._types import Tensor
from keras_vq.layers.convolution_padding_1d import ConvolutionPadding1D, PaddingMode
from keras_vq.layers.loudness_normalization import LoudnessNormalization
from keras_vq.networks._shapes import check_widths, dynamic_sequence_shape
from keras_vq.networks.pair import EncoderDecoder, functional, output_layer


def encodec(
    sequence_shape: tuple[int | None, int] = (None, 1),
    filters: int = 32,
    latent_dim: int = 128,
    strides: Sequence[int] = (2, 4, 5, 8),
    blocks: int = 1,
    kernel_size: int = 7,
    last_kernel_size: int = 7,
    block_kernel_size: int = 3,
    dilation_growth: int = 2,
    compression: int = 2,
    lstm_layers: int = 2,
    causal: bool = True,
    padding_mode: PaddingMode = "reflect",
    group_normalization: bool = False,
    block_convolution: bool = True,
    loudness_normalization: bool = False,
    output_activation: str | None = None,
) -> EncoderDecoder:
    """Builds the encoder and decoder of EnCodec: convolutions, residual blocks and LSTMs.

    The encoder has residual blocks and a strided convolution at each resolution, which double the
    channels, and an LSTM with a skip connection at the end. The decoder mirrors it with transposed
    convolutions. Weight normalization is a parameterization of the same convolutions and is
    omitted. With the defaults these are the networks of the 24 kHz model; the stereo model at
    48 kHz has 2 channels, `causal=False`, `group_normalization=True` and
    `loudness_normalization=True`. Source: Défossez et al., "High Fidelity Neural Audio
    Compression" (EnCodec), 2022.

    Args:
        sequence_shape: Tuple. (samples, channels). The number of samples must be a multiple of the
            product of the strides, or `None` for any number: an incomplete last frame is padded,
            and the decoder returns complete frames. Defaults to (None, 1).
        filters: Integer. Channels after the first convolution. Defaults to 32.
        latent_dim: Integer. Channels of the latents. Defaults to 128.
        strides: Sequence of integers. Strides of the encoder. Defaults to (2, 4, 5, 8).
        blocks: Integer. Residual blocks per resolution. Defaults to 1.
        kernel_size: Integer. Kernel size of the first convolutions. Defaults to 7.
        last_kernel_size: Integer. Kernel size of the last convolutions. Defaults to 7.
        block_kernel_size: Integer. Kernel size in the residual blocks. Defaults to 3.
        dilation_growth: Integer. Factor of the dilation from one block to the next. Defaults to 2.
        compression: Integer. Divisor of the channels inside the residual blocks. Defaults to 2.
        lstm_layers: Integer. Layers of each LSTM. Defaults to 2.
        causal: Boolean. Whether frames depend on no later ones, except for reflections at the
            start. Defaults to `True`.
        padding_mode: String. `"reflect"` or `"constant"`; see `ConvolutionPadding1D`. Defaults to
            `"reflect"`.
        group_normalization: Boolean. Whether each convolution is followed by a normalization over
            time and channels. Defaults to `False`.
        block_convolution: Boolean. Whether skip connections of residual blocks have a convolution
            of width 1. Defaults to `True`.
        loudness_normalization: Boolean. Whether the encoder divides sound by its loudness. The
            decoder then returns sound of loudness 1. Defaults to `False`.
        output_activation: String. Keras activation of the outputs, or `None`. Defaults to `None`.

    Returns:
        An `EncoderDecoder`: `(batch, T, C)` -> `(batch, ⌈T / product of strides⌉, latent_dim)` ->
        `(batch, T, C)`, with T rounded up.

    Raises:
        ValueError: If an argument is invalid, or the strides do not divide the samples.

    Example:
        >>> import keras_vq
        >>> encoder, decoder = keras_vq.networks.encodec((3200, 1), filters=8, latent_dim=16)
        >>> encoder.output_shape, decoder.output_shape
        ((None, 10, 16), (None, 3200, 1))
    """
    strides = check_widths("strides", strides)
    for name, value in (
        ("filters", filters),
        ("latent_dim", latent_dim),
        ("blocks", blocks),
        ("compression", compression),
        ("lstm_layers", lstm_layers),
    ):
        _validation.check_positive_integer(name, value)
    (steps, channels), frames = dynamic_sequence_shape(sequence_shape, math.prod(strides))

    def normalized(x: Tensor, name: str) -> Tensor:
        if not group_normalization:
            return x
        return layers.GroupNormalization(1, axis=-1, epsilon=1e-5, name=f"{name}_norm")(x)

    def convolution(
        x: Tensor, width: int, kernel: int, name: str, step: int = 1, dilation: int = 1
    ) -> Tensor:
        if kernel > 1:
            padding = ConvolutionPadding1D(
                kernel, step, dilation, causal, padding_mode, name=f"{name}_padding"
            )
            x = padding(x)
        x = layers.Conv1D(
            width,
            kernel,
            strides=step,
            dilation_rate=dilation,
            data_format="channels_last",
            name=f"{name}_conv",
        )(x)
        return normalized(x, name)

    def upsampling(x: Tensor, width: int, step: int, name: str) -> Tensor:
        x = layers.Conv1DTranspose(
            width, 2 * step, strides=step, data_format="channels_last", name=f"{name}_conv"
        )(x)
        end = step if causal else step // 2
        return layers.Cropping1D((step - end, end), name=f"{name}_crop")(normalized(x, name))

    def block(x: Tensor, dilation: int, name: str) -> Tensor:
        width = x.shape[-1]
        residual = layers.ELU(name=f"{name}_block_0")(x)
        residual = convolution(
            residual, width // compression, block_kernel_size, f"{name}_block_1", dilation=dilation
        )
        residual = layers.ELU(name=f"{name}_block_2")(residual)
        residual = convolution(residual, width, 1, f"{name}_block_3")
        skipped = convolution(x, width, 1, f"{name}_shortcut") if block_convolution else x
        return layers.Add(name=f"{name}_sum")([skipped, residual])

    def recurrent(x: Tensor, name: str) -> Tensor:
        y = x
        for level in range(lstm_layers):
            y = layers.LSTM(x.shape[-1], return_sequences=True, name=f"{name}_lstm_{level}")(y)
        return layers.Add(name=f"{name}_sum")([y, x])

    # Layers are numbered as in the list of layers of the source, which counts activations.
    numbered = lambda: map("layers_{}".format, itertools.count())  # noqa: E731

    def encode(x: Tensor) -> Tensor:
        names = numbered()
        if loudness_normalization:
            x = LoudnessNormalization(name="loudness")(x)
        width = filters
        x = convolution(x, width, kernel_size, next(names))
        for step in strides:
            for place in range(blocks):
                x = block(x, dilation_growth**place, next(names))
            width *= 2
            x = layers.ELU(name=next(names))(x)
            x = convolution(x, width, 2 * step, next(names), step)
        x = recurrent(x, next(names))
        x = layers.ELU(name=next(names))(x)
        return convolution(x, latent_dim, last_kernel_size, next(names))

    def decode(x: Tensor) -> Tensor:
        names = numbered()
        width = filters * 2 ** len(strides)
        x = convolution(x, width, kernel_size, next(names))
        x = recurrent(x, next(names))
        for step in reversed(strides):
            width //= 2
            x = layers.ELU(name=next(names))(x)
            x = upsampling(x, width, step, next(names))
            for place in range(blocks):
                x = block(x, dilation_growth**place, next(names))
        x = layers.ELU(name=next(names))(x)
        x = convolution(x, channels, last_kernel_size, next(names))
        return output_layer(output_activation)(x)

    return EncoderDecoder(
        functional("encoder", (steps, channels), encode),
        functional("decoder", (frames, latent_dim), decode),
    )
