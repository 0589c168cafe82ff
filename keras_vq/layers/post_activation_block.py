"""Residual block of convolutions with an activation after the sum."""

from typing import Any

import keras
from keras import layers, ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class PostActivationBlock(ConfigurableLayer):
    """Residual block relu(x + F(x)), where F is a stack of 3x3 convolutions.

    All convolutions of F but the last one are followed by an activation. The output has the shape
    of the input. Sources: He et al., "Deep Residual Learning for Image Recognition", 2015; three
    convolutions: TAESD, the tiny autoencoder for Stable Diffusion, 2023.

    Args:
        num_convolutions: Integer. Number of convolutions. Defaults to 3.
        activation: String or function. Activation inside F. Defaults to `"relu"`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, height, width, channels)`.

    Raises:
        ValueError: If `num_convolutions` is not a positive integer.

    Example:
        >>> import numpy as np, keras_vq
        >>> block = keras_vq.layers.PostActivationBlock()
        >>> tuple(block(np.zeros((1, 8, 8, 16), "float32")).shape)
        (1, 8, 8, 16)
    """

    def __init__(self, num_convolutions: int = 3, activation: Any = "relu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_convolutions = _validation.check_positive_integer(
            "num_convolutions", num_convolutions
        )
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Shape) -> None:
        """Creates the convolutions."""
        options: dict[str, Any] = {"padding": "same", "data_format": "channels_last"}
        self.convolutions = [
            layers.Conv2D(input_shape[-1], 3, dtype=self.dtype_policy, **options)
            for _ in range(self.num_convolutions)
        ]
        for convolution in self.convolutions:
            convolution.build(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """Applies the block."""
        first, *others = self.convolutions
        x = first(inputs)
        for convolution in others:
            x = convolution(self.activation(x))
        return ops.relu(inputs + x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input shape."""
        return input_shape
