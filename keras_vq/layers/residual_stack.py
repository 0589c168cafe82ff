"""Residual stack of the VQ-VAE encoder and decoder."""

from typing import Any

import keras
from keras import layers

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class ResidualStack(ConfigurableLayer):
    """Stack of residual blocks x + conv1x1(relu(conv3x3(relu(x)))), followed by a ReLU.

    The output has the shape of the input. Source: van den Oord et al., "Neural Discrete
    Representation Learning", 2017, section 4.1.

    Args:
        blocks: Integer. Number of blocks. Defaults to 2.
        filters: Integer. Filters of the 3x3 convolution in each block. Defaults to 32.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, height, width, channels)`.

    Example:
        >>> import numpy as np, keras_vq
        >>> stack = keras_vq.layers.ResidualStack(blocks=2, filters=32)
        >>> tuple(stack(np.zeros((1, 8, 8, 128), "float32")).shape)
        (1, 8, 8, 128)
    """

    def __init__(self, blocks: int = 2, filters: int = 32, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blocks = _validation.check_positive_integer("blocks", blocks)
        self.filters = _validation.check_positive_integer("filters", filters)

    def build(self, input_shape: Shape) -> None:
        """Creates the convolutions."""
        channels, dtype = input_shape[-1], self.dtype_policy
        blocks = range(self.blocks)
        options: dict[str, Any] = {"dtype": dtype, "data_format": "channels_last"}
        wide = {"padding": "same", "activation": "relu", **options}
        self.wide = [layers.Conv2D(self.filters, 3, **wide) for _ in blocks]
        self.narrow = [layers.Conv2D(channels, 1, **options) for _ in blocks]
        for wide, narrow in zip(self.wide, self.narrow, strict=True):
            wide.build(input_shape)
            narrow.build(wide.compute_output_shape(input_shape))

    def call(self, inputs: Tensor) -> Tensor:
        """Applies the blocks."""
        x = inputs
        for wide, narrow in zip(self.wide, self.narrow, strict=True):
            x = x + narrow(wide(keras.ops.relu(x)))
        return keras.ops.relu(x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input shape."""
        return input_shape
