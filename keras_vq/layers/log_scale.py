"""Learned scale of a likelihood."""

import math
from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class LogScale(ConfigurableLayer):
    """Appends a learned log-scale to the means that a decoder returns.

    The scale is a weight: one number, or one number for each channel. Append the layer to a decoder
    of a VAE whose likelihood takes means and log-scales, such as
    `keras_vq.losses.GaussianNegativeLogLikelihood()`. Source: Rybkin et al., "Simple and Effective
    VAE Training with Calibrated Decoders", 2021.

    Args:
        per_channel: Boolean. Whether each channel has its own scale. Defaults to `False`.
        initial_scale: Float above 0. Defaults to 1.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, ..., channels)`.

    Returns:
        Float tensor of shape `(batch, ..., 2 * channels)`: the inputs, then the log-scales.

    Raises:
        ValueError: If `initial_scale` is not above 0.

    Example:
        >>> import numpy as np, keras_vq
        >>> layer = keras_vq.layers.LogScale()
        >>> [float(value) for value in layer(np.array([[3.0, 4.0]]))[0]]
        [3.0, 4.0, 0.0, 0.0]
    """

    def __init__(
        self, per_channel: bool = False, initial_scale: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.per_channel = per_channel
        self.initial_scale = _validation.check_positive("initial_scale", initial_scale)

    def build(self, input_shape: Shape) -> None:
        """Creates the log-scale."""
        self.log_scale = self.add_weight(
            shape=(input_shape[-1],) if self.per_channel else (1,),
            initializer=keras.initializers.Constant(math.log(self.initial_scale)),
            name="log_scale",
        )

    def call(self, inputs: Tensor) -> Tensor:
        """Appends the log-scale to the channels of a batch."""
        log_scale = ops.cast(self.log_scale, inputs.dtype)
        return ops.concatenate([inputs, ops.zeros_like(inputs) + log_scale], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape with twice the channels."""
        return (*input_shape[:-1], None if input_shape[-1] is None else 2 * input_shape[-1])
