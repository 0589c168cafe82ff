"""Encoders and decoders for sequences: convolutional, recurrent, transformer."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_vq import _validation
from keras_vq.layers.grid_positions import GridPositions
from keras_vq.layers.sequence_patches import EndMasking, PatchSteps, SequencePatches
from keras_vq.layers.transformer_block import TransformerBlock
from keras_vq.networks._shapes import check_sequence_shape, check_widths, padding_to_multiple
from keras_vq.networks.pair import (
    EncoderDecoder,
    MaskedSequential,
    latent_shape,
    output_layer,
    projection,
    sequential,
)

_SAME: dict[str, Any] = {"padding": "same", "data_format": "channels_last"}
_STRIDED: dict[str, Any] = {"kernel_size": 4, "strides": 2, **_SAME}


def convolutional_sequence(
    sequence_shape: tuple[int, int],
    filters: Sequence[int] = (32, 64),
    latent_dim: int | None = 16,
    output_activation: str | None = None,
    pad: bool = False,
) -> EncoderDecoder:
    """Builds an encoder of strided 1D convolutions, and the decoder that mirrors it.

    Suitable for waveforms and other sequences of fixed length: convolutions ignore masks.

    Args:
        sequence_shape: Tuple of integers. (steps, channels). The steps must be a multiple of 2ⁿ,
            where n is the number of strided layers, unless `pad` is True.
        filters: Sequence of integers. Filters of each strided convolution of the encoder. Defaults
            to (32, 64).
        latent_dim: Integer. Channels of the latents, the output of a convolution of width 1. None
            omits this convolution: the encoder returns features, as `VAE` expects, and the decoder
            accepts latents with any number of channels. Defaults to 16.
        output_activation: String. Activation of the outputs. None leaves them unbounded. Defaults
            to None.
        pad: Boolean. Whether to pad sequences if 2ⁿ does not divide the steps: the encoder repeats
            the first and last steps, and the decoder crops its outputs to `sequence_shape`. False
            raises an error for such lengths. Defaults to False.

    Returns:
        An `EncoderDecoder`: `(batch, T, C)` -> `(batch, T / 2ⁿ, latent_dim)` -> `(batch, T, C)`.

    Raises:
        ValueError: If a shape or width is invalid, or the strides do not divide the steps.

    Example:
        >>> import keras_vq
        >>> encoder, decoder = keras_vq.networks.convolutional_sequence((64, 1), latent_dim=8)
        >>> encoder.output_shape, decoder.output_shape
        ((None, 16, 8), (None, 64, 1))
    """
    filters = check_widths("filters", filters)
    scale = 2 ** len(filters)
    steps, channels = check_sequence_shape(sequence_shape, scale, pad)
    padding = padding_to_multiple((steps,), scale)
    encoder: list[Any] = [
        *padding.pad,
        *(layers.Conv1D(width, activation="relu", **_STRIDED) for width in filters),
        *projection(latent_dim, layers.Conv1D, kernel_size=1, data_format="channels_last"),
    ]
    decoder = [
        layers.Conv1D(filters[-1], 3, activation="relu", **_SAME),
        *(
            layers.Conv1DTranspose(width, activation="relu", **_STRIDED)
            for width in reversed(filters)
        ),
        layers.Conv1D(channels, 3, **_SAME),
        *padding.crop,
        output_layer(output_activation),
    ]
    return EncoderDecoder(
        sequential("encoder", (steps, channels), encoder),
        sequential("decoder", latent_shape(latent_dim, padding.sizes[0] // scale), decoder),
    )


def recurrent_sequence(
    sequence_shape: tuple[int, int],
    units: int = 64,
    latent_dim: int | None = 16,
    patch: int = 1,
    whole: bool = False,
    output_activation: str | None = None,
    pad: bool = False,
) -> EncoderDecoder:
    """Builds an encoder and a decoder of bidirectional GRUs.

    The latents are one vector per `patch` steps, or one vector per sequence. Trailing all-zero
    steps are masked: they do not affect the latents, and per-step latents carry the mask. With one
    vector per sequence the outputs have no mask: pass the valid steps to `fit` as `sample_weight`.
    Source of the form with one vector: Bowman et al., "Generating Sentences from a Continuous
    Space", 2016, whose decoder also receives the true previous steps (teacher forcing).

    Args:
        sequence_shape: Tuple of integers. (steps, channels).
        units: Integer. Width of the GRUs. Defaults to 64.
        latent_dim: Integer. Size of the latents, the output of a dense layer. None omits this
            layer: the encoder returns features, as `VAE` expects, and the decoder accepts latents
            of any size. Defaults to 16.
        patch: Integer. Steps per latent vector. Must divide the steps unless `pad` is True.
            Defaults to 1.
        whole: Boolean. Whether one latent vector represents the whole sequence, as `VAE` expects.
            Defaults to False.
        output_activation: String. Activation of the outputs. None leaves them unbounded. Defaults
            to None.
        pad: Boolean. Whether to pad sequences if `patch` does not divide the steps: the encoder
            adds masked steps at the end, and the decoder crops its outputs to `sequence_shape`.
            False raises an error for such lengths. Defaults to False.

    Returns:
        An `EncoderDecoder`: `(batch, T, C)` -> `(batch, T / patch, latent_dim)`, or
        `(batch, latent_dim)` if `whole` -> `(batch, T, C)`.

    Raises:
        ValueError: If a shape or width is invalid, or `patch` does not divide the steps.

    Example:
        >>> import keras_vq
        >>> encoder, decoder = keras_vq.networks.recurrent_sequence((12, 3), patch=2)
        >>> encoder.output_shape, decoder.output_shape
        ((None, 6, 16), (None, 12, 3))
    """
    steps, channels = check_sequence_shape(sequence_shape, patch, pad)
    _validation.check_positive_integer("units", units)
    count = -(-steps // patch)

    def both_ways(all_steps: bool) -> Any:
        return layers.Bidirectional(layers.GRU(units, return_sequences=all_steps))

    encoder = [
        EndMasking(),
        SequencePatches(patch, pad=pad),
        both_ways(not whole),
        *projection(latent_dim),
    ]
    decoder = [
        *([layers.RepeatVector(count), GridPositions((count,))] if whole else []),
        both_ways(True),
        layers.Dense(patch * channels),
        PatchSteps(patch, steps=steps if pad else None),
        output_layer(output_activation),
    ]
    axes = () if whole else (count,)
    return EncoderDecoder(
        _masked("encoder", (steps, channels), encoder),
        _masked("decoder", latent_shape(latent_dim, *axes), decoder),
    )


def transformer_sequence(
    sequence_shape: tuple[int, int],
    hidden_dim: int = 64,
    num_layers: int = 2,
    num_heads: int = 4,
    latent_dim: int | None = 16,
    patch: int = 1,
    output_activation: str | None = None,
    pad: bool = False,
) -> EncoderDecoder:
    """Builds an encoder and a decoder of bidirectional transformers over patches of steps.

    Positional embeddings are learned. Trailing all-zero steps are masked in the attention.

    Args:
        sequence_shape: Tuple of integers. (steps, channels).
        hidden_dim: Integer. Width of the transformers. Defaults to 64.
        num_layers: Integer. Number of blocks of each transformer. Defaults to 2.
        num_heads: Integer. Number of attention heads per block. Must divide `hidden_dim`. Defaults
            to 4.
        latent_dim: Integer. Size of the latents, the output of a dense layer. None omits this
            layer: the encoder returns features, as `VAE` expects, and the decoder accepts latents
            of any size. Defaults to 16.
        patch: Integer. Steps per latent vector. Must divide the steps unless `pad` is True.
            Defaults to 1.
        output_activation: String. Activation of the outputs. None leaves them unbounded. Defaults
            to None.
        pad: Boolean. Whether to pad sequences if `patch` does not divide the steps: the encoder
            adds masked steps at the end, and the decoder crops its outputs to `sequence_shape`.
            False raises an error for such lengths. Defaults to False.

    Returns:
        An `EncoderDecoder`: `(batch, T, C)` -> `(batch, T / patch, latent_dim)` -> `(batch, T, C)`.

    Raises:
        ValueError: If a shape or width is invalid, or `patch` does not divide the steps.

    Example:
        >>> import keras_vq
        >>> encoder, decoder = keras_vq.networks.transformer_sequence((12, 3), patch=4)
        >>> encoder.output_shape, decoder.output_shape
        ((None, 3, 16), (None, 12, 3))
    """
    steps, channels = check_sequence_shape(sequence_shape, patch, pad)
    _validation.check_positive_integer("hidden_dim", hidden_dim)
    count = -(-steps // patch)

    def transformer() -> list[Any]:
        blocks = [TransformerBlock(num_heads, causal=False) for _ in range(num_layers)]
        ends = [layers.Dense(hidden_dim), GridPositions((count,), hidden_dim)]
        return [*ends, *blocks, layers.LayerNormalization(epsilon=1e-6)]

    encoder = [
        EndMasking(),
        SequencePatches(patch, pad=pad),
        *transformer(),
        *projection(latent_dim),
    ]
    decoder = [
        *transformer(),
        layers.Dense(patch * channels),
        PatchSteps(patch, steps=steps if pad else None),
        output_layer(output_activation),
    ]
    return EncoderDecoder(
        _masked("encoder", (steps, channels), encoder),
        _masked("decoder", latent_shape(latent_dim, count), decoder),
    )


def _masked(name: str, input_shape: Any, parts: list[Any]) -> MaskedSequential:
    """Creates a `MaskedSequential` model, built if the input shape is known."""
    head = [] if input_shape is None else [keras.Input(input_shape)]
    return MaskedSequential([*head, *parts], name=name)
