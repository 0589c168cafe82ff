"""DiVeQ: quantization as a move of the input's own length and direction."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import ConfigurableLayer, Hyperparameter
from keras_vq._types import Tensor
from keras_vq.estimators._estimator import TINY, norm
from keras_vq.ops import with_value


@keras.saving.register_keras_serializable("keras_vq")
class Directional(ConfigurableLayer):
    """DiVeQ: the step from input to code is a constant direction times a length that learns.

    outputs = x + sg(d / |d|) |q - x|, with d = q - x + σ n and n standard normal in training. The
    length has a gradient for the inputs and for the codes, so neither commitment nor codebook
    loss is needed: give the quantizer `commitment=0`. Codes that learn by moving averages keep
    learning by them. Without training there is no noise, and the value is the code to the bit.

    Source: Vali et al., "DiVeQ: Differentiable Vector Quantization Using the Reparameterization
    Trick", 2025, section 3.

    Args:
        deviation: σ, standard deviation of the noise, at least 0.
        seed: Seed of the noise.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If the deviation is negative.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(
        ...     keras_vq.Codebook(512, weight=0.0),
        ...     commitment=0.0,
        ...     estimator=keras_vq.estimators.Directional(),
        ... )
    """

    deviation = Hyperparameter(_validation.check_not_negative, zero_is_off=True)

    def __init__(self, deviation: float = 1e-3, seed: int | None = None, **kwargs: Any) -> None:
        # Distances overflow in half precision.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.deviation = deviation
        self.adds_noise = deviation > 0
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Tensor, codes: Tensor, training: bool = False) -> Tensor:
        """Codes, with gradients for inputs and codes."""
        step = codes - inputs
        # Where input and code are one, the length has no gradient: that of a root of 0 is NaN.
        squared = ops.sum(ops.square(step), axis=-1, keepdims=True)
        is_step = squared > TINY**2
        length = ops.where(is_step, ops.sqrt(ops.where(is_step, squared, 1.0)), 0.0)
        direction = ops.stop_gradient(step)
        is_noisy = training and self.adds_noise
        if is_noisy:
            noise = keras.random.normal(ops.shape(step), dtype="float32", seed=self.seed_generator)
            direction = direction + self.deviation * noise
        moved = inputs + direction / ops.maximum(norm(direction), TINY) * length
        exact = with_value(codes, moved)
        return ops.where(self.deviation > 0, moved, exact) if is_noisy else exact

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "deviation": self.deviation, "seed": self.seed}
