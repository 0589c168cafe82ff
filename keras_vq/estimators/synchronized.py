"""Synchronized straight-through estimator."""

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._configurable import Configurable
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Tensor
from keras_vq.ops import replace_gradient


@keras.saving.register_keras_serializable("keras_vq")
class Synchronized(Configurable):
    """Synchronized straight-through estimator: code vectors get a share ν of the gradient too.

    outputs = q + (x - sg(x)) + ν (q - sg(q)). The code vectors move together with their inputs
    instead of one step later. The estimator needs a codebook that is trained by gradient
    (`keras_vq.GradientCodebook`).

    Source: Huh et al., "Straightening Out the Straight-Through Estimator", 2023, section 4.3.

    Args:
        nu: Float, at least 0. Share ν of the gradient for the code vectors: 0.2 to 2 in the
            paper; 0 is the straight-through estimator. Defaults to 1.0.

    Raises:
        ValueError: If `nu` is negative.

    Example:
        >>> import keras_vq
        >>> estimator = keras_vq.estimators.Synchronized(0.5)
        >>> quantizer = keras_vq.VectorQuantizer(
        ...     512, codebook="gradient_codebook", estimator=estimator
        ... )
    """

    nu = Hyperparameter(_validation.check_not_negative)

    def __init__(self, nu: float = 1.0) -> None:
        self.nu = nu

    def __call__(self, inputs: Tensor, quantized: Tensor, training: bool = False) -> Tensor:
        """Returns the code vectors, with gradients to inputs and code vectors."""
        del training
        inputs, quantized = ops.convert_to_tensor(inputs), ops.convert_to_tensor(quantized)
        return replace_gradient(quantized, inputs + self.nu * quantized)
