"""Clipping to an interval with a straight-through gradient."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class StraightThroughClip(ConfigurableLayer):
    """Clipping to [low, high] with a straight-through gradient.

    The gradient passes unchanged, but is zeroed where it would push a clipped value further out of
    the range.

    As the last layer of a decoder it keeps pixels in their range without a vanishing gradient. The
    gradient of a saturated sigmoid vanishes: with a squared error on mostly black images, a network
    that learns fast may output black images after about ten steps, and not recover. Here a clipped
    pixel receives the same gradient toward the range as any other. Gradients that point further
    out, as an adversarial loss can have, would change no pixel and only delay the return to the
    range. For a Bernoulli likelihood use a sigmoid, because probabilities must not be exactly 0
    or 1.

    Source: Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons", 2013
    (straight-through estimator).

    Args:
        low: Float. Lower bound. Defaults to 0.0.
        high: Float. Upper bound, above `low`. Defaults to 1.0.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of any shape.
        training: Boolean. Whether to use the straight-through gradient; the outputs are the same.
            Defaults to False.

    Returns:
        Float tensor of the same shape, with values in [low, high].

    Raises:
        ValueError: If a bound is not a finite number, or `high` is not above `low`.

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
            raise ValueError(f"`high` must be greater than `low`. Received: low={low}, high={high}")
        self.supports_masking = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Clips the inputs."""
        if not training:
            return ops.clip(inputs, self.low, self.high)

        @ops.custom_gradient
        def clipped(inputs: Tensor) -> tuple[Tensor, Callable[..., Any]]:
            def gradient(*args: Tensor, upstream: Tensor | None = None) -> Tensor:
                if upstream is None:
                    (upstream,) = args
                # Gradient descent moves against the gradient.
                leads_out = ops.logical_or(
                    ops.logical_and(inputs < self.low, upstream > 0),
                    ops.logical_and(inputs > self.high, upstream < 0),
                )
                return ops.where(leads_out, ops.zeros_like(upstream), upstream)

            return ops.clip(inputs, self.low, self.high), gradient

        return clipped(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input shape."""
        return input_shape
