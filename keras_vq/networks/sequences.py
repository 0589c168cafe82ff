"""Encoders and decoders of sequences: convolutions, recurrence, attention."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_vq import _validation
from keras_vq.layers.grid_positions import GridPositions
from keras_vq.layers.sequence_patches import EndMasking, PatchSteps, SequencePatches
from keras_vq.layers.transformer_block import TransformerBlock
from keras_vq.networks._shapes import check_sequence_shape, check_widths, padding_to_multiple
from keras_vq.networks.pair import EncoderDecoder, MaskedSequential, output_layer, sequential

_SAME: dict[str, Any] = {"padding": "same", "data_format": "channels_last"}
_STRIDED: dict[str, Any] = {"kernel_size": 4, "strides": 2, **_SAME}


def convolutional_sequence(
    sequence_shape: tuple[int, int],
    filters: Sequence[int] = (32, 64),
    latent_dim: int | None = 16,
    output_activation: str | None = None,
    pad: bool = False,
) -> EncoderDecoder:
    """Strided convolutions along the steps, and the transposed ones that mirror them.

    For waveforms and other sequences of one length: convolutions know no masks.

    Args:
        sequence_shape: (steps, channels); 2 to the power of the number of layers divides the
            steps, unless `pad` is True.
        filters: Filters of each strided convolution of the encoder.
        latent_dim: Channels of the latents, by a convolution of width 1; None leaves it out: the
            encoder then returns features, as a VAE takes them, and the decoder takes latents of
            any number of channels.
        output_activation: Activation of the outputs, or None.
        pad: Boolean. Whether to pad sequences whose steps 2 to the power of the number
            of layers does not divide, by repeating the first and the last step,
            and to crop the outputs to `sequence_shape`. False raises an error for such lengths.

    Returns:
        The pair: `(batch, T, C)` -> `(batch, T / 2ⁿ, latent_dim)` -> `(batch, T, C)`.

    Raises:
        ValueError: If a shape or width is not one, or the strides don't divide the steps.

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
    ]
    if latent_dim is not None:
        _validation.check_positive_integer("latent_dim", latent_dim)
        encoder.append(layers.Conv1D(latent_dim, 1, data_format="channels_last"))
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
    latent_shape = None if latent_dim is None else (padding.sizes[0] // scale, latent_dim)
    return EncoderDecoder(
        sequential("encoder", (steps, channels), encoder),
        sequential("decoder", latent_shape, decoder),
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
    """GRUs over the steps: latents for each few steps, or one latent vector for all.

    What comes after a sequence's last step that is not all 0 is masked: it changes no latent, and
    latents of steps know it too. With one vector for all the outputs have no mask: give the steps
    that count to `fit` as `sample_weight`. Source of the form with one vector: Bowman
    et al., "Generating Sentences from a Continuous Space", 2016, whose decoder however is told
    the true steps before.

    Args:
        sequence_shape: (steps, channels).
        units: Width of the GRUs.
        latent_dim: Size of the latents; None leaves out the layer that projects to them: the
            encoder then returns features, as a VAE takes them, and the decoder takes latents of
            any size.
        patch: Steps that share a latent; divides the steps, unless `pad` is True.
        whole: Whether one latent vector stands for the whole sequence, as a VAE wants.
        output_activation: Activation of the outputs, or None.
        pad: Boolean. Whether to pad sequences whose steps `patch` does not divide, by masked steps
            at the end, and to crop the outputs to `sequence_shape`. False raises an error for
            such lengths.

    Returns:
        The pair: `(batch, T, C)` -> `(batch, T / patch, latent_dim)`, or `(batch, latent_dim)`,
        -> `(batch, T, C)`.

    Raises:
        ValueError: If a shape or width is not one, or `patch` doesn't divide the steps.

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
        *_projection(latent_dim),
    ]
    decoder = [
        *([layers.RepeatVector(count), GridPositions((count,))] if whole else []),
        both_ways(True),
        layers.Dense(patch * channels),
        PatchSteps(patch, steps=steps if pad else None),
        output_layer(output_activation),
    ]
    latent_shape = None
    if latent_dim is not None:
        latent_shape = (latent_dim,) if whole else (count, latent_dim)
    return EncoderDecoder(
        _masked("encoder", (steps, channels), encoder),
        _masked("decoder", latent_shape, decoder),
    )


def transformer_sequence(
    sequence_shape: tuple[int, int],
    dim: int = 64,
    depth: int = 2,
    heads: int = 4,
    latent_dim: int | None = 16,
    patch: int = 1,
    output_activation: str | None = None,
    pad: bool = False,
) -> EncoderDecoder:
    """Transformers over patches of steps, with learned positions; all see all.

    What comes after a sequence's last step that is not all 0 is masked: no step looks at it.

    Args:
        sequence_shape: (steps, channels).
        dim: Width of the transformers.
        depth: Blocks of each.
        heads: Attention heads of a block; divides `dim`.
        latent_dim: Size of the latents; None leaves out the layer that projects to them: the
            encoder then returns features, as a VAE takes them, and the decoder takes latents of
            any size.
        patch: Steps that share a latent; divides the steps, unless `pad` is True.
        output_activation: Activation of the outputs, or None.
        pad: Boolean. Whether to pad sequences whose steps `patch` does not divide, by masked steps
            at the end, and to crop the outputs to `sequence_shape`. False raises an error for
            such lengths.

    Returns:
        The pair: `(batch, T, C)` -> `(batch, T / patch, latent_dim)` -> `(batch, T, C)`.

    Raises:
        ValueError: If a shape or width is not one, or `patch` doesn't divide the steps.

    Example:
        >>> import keras_vq
        >>> encoder, decoder = keras_vq.networks.transformer_sequence((12, 3), patch=4)
        >>> encoder.output_shape, decoder.output_shape
        ((None, 3, 16), (None, 12, 3))
    """
    steps, channels = check_sequence_shape(sequence_shape, patch, pad)
    _validation.check_positive_integer("dim", dim)
    count = -(-steps // patch)

    def transformer() -> list[Any]:
        blocks = [TransformerBlock(heads, causal=False) for _ in range(depth)]
        ends = [layers.Dense(dim), GridPositions((count,), dim)]
        return [*ends, *blocks, layers.LayerNormalization(epsilon=1e-6)]

    encoder = [
        EndMasking(),
        SequencePatches(patch, pad=pad),
        *transformer(),
        *_projection(latent_dim),
    ]
    decoder = [
        *transformer(),
        layers.Dense(patch * channels),
        PatchSteps(patch, steps=steps if pad else None),
        output_layer(output_activation),
    ]
    return EncoderDecoder(
        _masked("encoder", (steps, channels), encoder),
        _masked("decoder", None if latent_dim is None else (count, latent_dim), decoder),
    )


def _projection(latent_dim: int | None) -> list[Any]:
    """Returns the layer that projects to the latents, if there is one, in a list."""
    if latent_dim is None:
        return []
    return [layers.Dense(_validation.check_positive_integer("latent_dim", latent_dim))]


def _masked(name: str, input_shape: Any, parts: list[Any]) -> MaskedSequential:
    """Returns a model through which masks pass, built when its input shape is known."""
    head = [] if input_shape is None else [keras.Input(input_shape)]
    return MaskedSequential([*head, *parts], name=name)
