"""Differentiable vector quantization (DiVeQ)."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Tensor
from keras_vq.estimators._estimator import TINY, norm
from keras_vq.ops import replace_gradient


@keras.saving.register_keras_serializable("keras_vq")
class Directional(ConfigurableLayer):
    """Differentiable vector quantization (DiVeQ): constant direction, differentiable distance.

    outputs = x + sg(d / |d|) |q - x|, with d = q - x + σ n, where n is standard normal noise in
    training and 0 in inference. The distance |q - x| has gradients with respect to the inputs and
    the code vectors, so that neither commitment loss nor codebook loss is needed: set
    `commitment_weight=0` in the quantizer. EMA updates of a codebook remain active. In inference
    the outputs equal the code vectors bit for bit.

    Source: Vali et al., "DiVeQ: Differentiable Vector Quantization Using the Reparameterization
    Trick", 2025, section 3.

    Args:
        sigma: Float, at least 0. Standard deviation σ of the noise. Defaults to 1e-3.
        seed: Integer. Seed of the noise. Defaults to `None`.
        **kwargs: Keyword arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If `sigma` is negative.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(
        ...     codebook=keras_vq.GradientCodebook(512, codebook_loss_weight=0.0),
        ...     commitment_weight=0.0,
        ...     estimator=keras_vq.estimators.Directional(),
        ... )
    """

    sigma = Hyperparameter(_validation.check_not_negative, zero_is_off=True)

    def __init__(self, sigma: float = 1e-3, seed: int | None = None, **kwargs: Any) -> None:
        # Squared distances overflow in half precision.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.sigma = sigma
        self.adds_noise = sigma > 0
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Tensor, quantized: Tensor, training: bool = False) -> Tensor:
        """Returns the code vectors, with gradients to inputs and code vectors."""
        step = quantized - inputs
        # The gradient of sqrt is infinite at 0, so inputs equal to their code vector are masked.
        squared = ops.sum(ops.square(step), axis=-1, keepdims=True)
        is_step = squared > TINY**2
        length = ops.where(is_step, ops.sqrt(ops.where(is_step, squared, 1.0)), 0.0)
        direction = ops.stop_gradient(step)
        is_noisy = training and self.adds_noise
        if is_noisy:
            noise = keras.random.normal(ops.shape(step), dtype="float32", seed=self.seed_generator)
            direction = direction + self.sigma * noise
        moved = inputs + direction / ops.maximum(norm(direction), TINY) * length
        exact = replace_gradient(quantized, moved)
        return ops.where(self.sigma > 0, moved, exact) if is_noisy else exact
