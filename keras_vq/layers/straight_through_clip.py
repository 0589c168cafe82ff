"""A clip to an interval that gradients pass."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._types import Shape, Tensor
from keras_vq.ops import with_value


@keras.saving.register_keras_serializable("keras_vq")
class StraightThroughClip(keras.layers.Layer):
    """Clips to [low, high]; in training the gradient of the outputs is that of the inputs.

    As the last layer of a decoder it keeps pixels in their range without dying: where a sigmoid
    saturates its gradient vanishes, and under a squared error on images that are mostly black a
    network that learns fast becomes black altogether within some ten steps, and stays so. A pixel
    clipped too far down is pulled up as hard as any other. A Bernoulli likelihood has no use for
    probabilities of exactly 0 and 1: it wants the sigmoid. Source of the estimator: Bengio et al.,
    "Estimating or Propagating Gradients Through Stochastic Neurons", 2013.

    Args:
        low: Lowest value.
        high: Highest value, above `low`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of any shape.
        training: Whether gradients pass where values are clipped; the values are the same.

    Returns:
        Tensor of the same shape, values in [low, high].

    Raises:
        ValueError: If they are not finite numbers, or `high` is not above `low`.

    Example:
        >>> import numpy as np, keras_vq
        >>> clip = keras_vq.layers.StraightThroughClip()
        >>> [float(value) for value in clip(np.array([-2.0, 0.25, 7.0]))]
        [0.0, 0.25, 1.0]
    """

    def __init__(self, low: float = 0.0, high: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low = _validation.check_finite("low", low)
        self.high = _validation.check_finite("high", high)
        if self.high <= self.low:
            raise ValueError(f"`high` must be above `low`. Received: low={low}, high={high}")
        self.supports_masking = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """The values in the interval."""
        clipped = ops.clip(inputs, self.low, self.high)
        return with_value(clipped, inputs) if training else clipped

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "low": self.low, "high": self.high}
