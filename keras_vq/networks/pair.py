"""Encoder-decoder pairs, and helpers of all network builders."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import layers

from keras_vq import _validation
from keras_vq._types import Shape, Tensor
from keras_vq.layers.straight_through_clip import StraightThroughClip


class EncoderDecoder(NamedTuple):
    """Encoder and decoder that fit together, for the constructor of a model.

    Example:
        >>> import keras_vq
        >>> encoder, decoder = keras_vq.networks.convolutional((28, 28, 1), latent_dim=16)
        >>> encoder.output_shape, decoder.output_shape
        ((None, 7, 7, 16), (None, 28, 28, 1))
    """

    encoder: keras.Model
    decoder: keras.Model


def flat_latent(pair: EncoderDecoder, latent_dim: int | None) -> EncoderDecoder:
    """Replaces the latent map of a pair by a single latent vector.

    The encoder flattens its map and, unless `latent_dim` is None, projects it to `latent_dim`
    values. The decoder starts with a dense layer that restores the map.

    Args:
        pair: An `EncoderDecoder` with latents of shape `(height, width, channels)`.
        latent_dim: Integer. Size of the latent vector. None returns the flattened map, as `VAE`
            expects, which has its own projections; the decoder then accepts the size of its first
            inputs.

    Returns:
        An `EncoderDecoder` with latents of shape `(latent_dim,)`.

    Example:
        >>> import keras_vq
        >>> maps = keras_vq.networks.convolutional((28, 28, 1), latent_dim=None)
        >>> encoder, decoder = keras_vq.networks.flat_latent(maps, latent_dim=16)
        >>> encoder.output_shape, decoder.output_shape
        ((None, 16), (None, 28, 28, 1))
    """
    map_shape = pair.encoder.output_shape[1:]
    units = 1
    for size in map_shape:
        units *= size
    encoder_layers: list[Any] = [layers.Flatten(data_format="channels_last")]
    encoder_layers += projection(latent_dim)
    return EncoderDecoder(
        sequential(
            "encoder", pair.encoder.input_shape[1:], [*pair.encoder.layers, *encoder_layers]
        ),
        sequential(
            "decoder",
            latent_shape(latent_dim),
            [
                layers.Dense(units, activation="relu"),
                layers.Reshape(map_shape),
                *pair.decoder.layers,
            ],
        ),
    )


@keras.saving.register_keras_serializable("keras_vq")
class MaskedSequential(keras.Sequential):
    """`keras.Sequential` that supports masking, without the Keras warning about dropped masks.

    Example:
        >>> import keras, numpy as np, keras_vq
        >>> parts = [keras.layers.Masking(), keras.layers.GRU(2, return_sequences=True)]
        >>> model = keras_vq.networks.MaskedSequential(parts)
        >>> tuple(model(np.ones((1, 3, 4), "float32")).shape)
        (1, 3, 2)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """Returns None: Keras keeps the mask that the last layer attached to its outputs."""
        del inputs, previous_mask


def projection(latent_dim: int | None, layer: Any = layers.Dense, **options: Any) -> list[Any]:
    """Returns a list with the layer that projects features to latents; an empty list for None.

    Args:
        latent_dim: Integer. Size of the latents, or None.
        layer: Layer class. Defaults to `keras.layers.Dense`.
        **options: Other arguments of the layer.

    Raises:
        ValueError: If `latent_dim` is not an integer of at least 1.
    """
    if latent_dim is None:
        return []
    return [layer(_validation.check_positive_integer("latent_dim", latent_dim), **options)]


def latent_shape(latent_dim: int | None, *axes: int | None) -> Shape | None:
    """Returns the input shape of a decoder; None, which accepts any size, for `latent_dim=None`."""
    return None if latent_dim is None else (*axes, latent_dim)


def sequential(
    name: str, input_shape: tuple[int | None, ...] | None, parts: list[Any]
) -> keras.Model:
    """Creates a `keras.Sequential` model, built if the input shape is known."""
    head = [] if input_shape is None else [keras.Input(input_shape)]
    return keras.Sequential([*head, *parts], name=name)


def functional(
    name: str, input_shape: tuple[int | None, ...], apply: Callable[[Tensor], Tensor]
) -> keras.Model:
    """Creates a functional model from a function of its input."""
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, apply(inputs), name=name)


def output_bias(activation: str | None) -> Any:
    """Returns the initializer of the last bias: 0.5 (mid-gray) for clipped pixels, else zeros."""
    return keras.initializers.Constant(0.5) if activation == "clip" else "zeros"


def output_layer(activation: str | None) -> Any:
    """Creates the output activation.

    It computes in float32, because half precision is too coarse for a likelihood.
    """
    if activation == "clip":
        return StraightThroughClip(dtype="float32", name="pixels")
    return layers.Activation(activation, dtype="float32", name="pixels")
