"""A clip to an interval that gradients pass."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class StraightThroughClip(ConfigurableLayer):
    """Clips to [low, high]; in training gradients pass, except those that lead further out.

    As the last layer of a decoder it keeps pixels in their range without dying: where a sigmoid
    saturates its gradient vanishes, and under a squared error on images that are mostly black a
    network that learns fast becomes black altogether within some ten steps, and stays so. A pixel
    clipped too far down is pulled up as hard as any other. What is outside already is not driven
    further out, where a loss would (a discriminator's can), for that changes no pixel and makes
    the way back longer. A Bernoulli likelihood has no use for probabilities of exactly 0 and 1: it
    wants the sigmoid. Source of the estimator: Bengio et al., "Estimating or Propagating Gradients
    Through Stochastic Neurons", 2013.

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
        if not training:
            return ops.clip(inputs, self.low, self.high)

        @ops.custom_gradient
        def clipped(inputs: Tensor) -> tuple[Tensor, Callable[..., Any]]:
            def gradient(*args: Tensor, upstream: Tensor | None = None) -> Tensor:
                if upstream is None:
                    (upstream,) = args
                # A step of descent goes against the gradient.
                leads_out = ops.logical_or(
                    ops.logical_and(inputs < self.low, upstream > 0),
                    ops.logical_and(inputs > self.high, upstream < 0),
                )
                return ops.where(leads_out, ops.zeros_like(upstream), upstream)

            return ops.clip(inputs, self.low, self.high), gradient

        return clipped(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "low": self.low, "high": self.high}
