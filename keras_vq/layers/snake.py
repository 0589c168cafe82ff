"""Snake activation."""

from typing import Any

import keras
from keras import ops

from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor

# Keeps the division finite for a frequency of 0, as in DAC.
_EPSILON = 1e-9


@keras.saving.register_keras_serializable("keras_vq")
class Snake(ConfigurableLayer):
    """Snake activation x + sin²(αx) / α, with one trainable frequency α per channel.

    The periodic term lets a network extrapolate periodic signals, such as sound. Sources: Ziyin et
    al., "Neural Networks Fail to Learn Periodic Functions and How to Fix It", 2020; in a codec of
    sound: Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN" (DAC), 2023.

    Args:
        initializer: Keras initializer of α, of shape `(channels,)`. Defaults to `"ones"`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, ..., channels)`.

    Output shape:
        That of the inputs.

    Example:
        >>> import numpy as np, keras_vq
        >>> snake = keras_vq.layers.Snake()
        >>> [round(float(value), 3) for value in snake(np.array([[0.0], [1.0], [-1.0]]))[:, 0]]
        [0.0, 1.708, -0.292]
    """

    def __init__(self, initializer: Any = "ones", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initializer = keras.initializers.get(initializer)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        """Creates the frequencies."""
        self.alpha = self.add_weight(
            name="alpha", shape=(input_shape[-1],), initializer=self.initializer
        )

    def call(self, inputs: Tensor) -> Tensor:
        """Applies the activation."""
        alpha = ops.convert_to_tensor(self.alpha)
        return inputs + ops.square(ops.sin(alpha * inputs)) / (alpha + _EPSILON)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input shape."""
        return input_shape
