"""Straight-through estimator (STE)."""

import keras
from keras import ops

from keras_vq._types import Tensor
from keras_vq.ops import replace_gradient


@keras.saving.register_keras_serializable("keras_vq")
def straight_through(inputs: Tensor, quantized: Tensor, training: bool = False) -> Tensor:
    """Applies the straight-through estimator: copies the gradient of the outputs to the inputs.

    Source: van den Oord et al., "Neural Discrete Representation Learning", 2017, section 3.2.

    Args:
        inputs: Float32 tensor of shape `(..., dim)`.
        quantized: Float32 tensor of the code vectors of the inputs, of the same shape.
        training: Boolean. Has no effect.

    Returns:
        Tensor equal to `quantized` whose derivative with respect to `inputs` is the identity.

    Example:
        >>> import numpy as np, keras_vq
        >>> inputs = np.array([[0.9, 0.2]], "float32")
        >>> quantized = np.array([[1.0, 0.0]], "float32")
        >>> outputs = keras_vq.estimators.straight_through(inputs, quantized)
        >>> [float(value) for value in outputs[0]]
        [1.0, 0.0]
    """
    del training
    inputs, quantized = ops.convert_to_tensor(inputs), ops.convert_to_tensor(quantized)
    return replace_gradient(quantized, inputs)
