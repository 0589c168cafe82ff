"""Normalization of the loudness of sound."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class LoudnessNormalization(ConfigurableLayer):
    """Division of each sound by its loudness, the root mean square of the mean of its channels.

    Normalized sound does not change when it is normalized again. Source: Défossez et al., "High
    Fidelity Neural Audio Compression" (EnCodec), 2022, section 3.4.

    Args:
        epsilon: Float. Number added to the loudness, which keeps silence finite. Defaults to 1e-8.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, samples, channels)`.

    Output shape:
        That of the inputs.

    Example:
        >>> import numpy as np, keras_vq
        >>> layer = keras_vq.layers.LoudnessNormalization()
        >>> [round(float(sample), 3) for sample in layer(np.array([[[0.1], [0.2]]]))[0, :, 0]]
        [0.632, 1.265]
    """

    def __init__(self, epsilon: float = 1e-8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = _validation.check_positive("epsilon", epsilon)

    def loudness(self, inputs: Tensor) -> Tensor:
        """Returns the loudness of each sound: shape `(batch, 1, 1)`."""
        mono = ops.mean(inputs, axis=-1, keepdims=True)
        return ops.sqrt(ops.mean(ops.square(mono), axis=1, keepdims=True)) + self.epsilon

    def call(self, inputs: Tensor) -> Tensor:
        """Normalizes a batch."""
        return inputs / self.loudness(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input shape."""
        return input_shape
