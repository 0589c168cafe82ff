"""Rotation trick estimator."""

import keras
from keras import ops

from keras_vq._types import Tensor
from keras_vq.estimators._estimator import TINY, norm
from keras_vq.ops import replace_gradient


@keras.saving.register_keras_serializable("keras_vq")
def rotation_trick(inputs: Tensor, quantized: Tensor, training: bool = False) -> Tensor:
    """Applies the rotation trick: gradients are rotated and scaled with the quantized vectors.

    The code vector q is treated as a constant rotation and rescaling of the input x: the linear map
    that takes x/|x| to q/|q| in the plane of both, and |x| to |q|. Gradients pass through this map.
    It preserves the angle between gradient and vector, so that inputs of the same code can be moved
    apart.

    Source: Fifty et al., "Restructuring Vector Quantization with the Rotation Trick", 2024.

    Args:
        inputs: Float32 tensor of shape `(..., dim)`.
        quantized: Float32 tensor of the code vectors of the inputs, of the same shape.
        training: Boolean. Has no effect.

    Returns:
        Tensor equal to `quantized`. The gradient is unchanged where an input is zero, which has no
        direction, and zero where a code vector is zero.

    Example:
        >>> import numpy as np, keras_vq
        >>> inputs = np.array([[0.9, 0.2]], "float32")
        >>> quantized = np.array([[1.0, 0.0]], "float32")
        >>> outputs = keras_vq.estimators.rotation_trick(inputs, quantized)
        >>> [float(value) for value in outputs[0]]
        [1.0, 0.0]
    """
    del training
    inputs, quantized = ops.convert_to_tensor(inputs), ops.convert_to_tensor(quantized)
    x = ops.stop_gradient(inputs)
    q = ops.stop_gradient(quantized)
    x_norm, q_norm = norm(x), norm(q)
    x_unit = x / ops.maximum(x_norm, TINY)
    q_unit = q / ops.maximum(q_norm, TINY)
    bisector = x_unit + q_unit
    w = bisector / ops.maximum(norm(bisector), TINY)

    # The rotation I - 2 w wᵀ + 2 q̂ x̂ᵀ maps x̂ to q̂; x̂, q̂ and w are constants.
    along_w = ops.sum(inputs * w, axis=-1, keepdims=True)
    along_x = ops.sum(inputs * x_unit, axis=-1, keepdims=True)
    rotated = inputs - 2.0 * along_w * w + 2.0 * along_x * q_unit
    has_direction = x_norm > TINY
    # Finite also where it is discarded, because the gradient of `where` multiplies it by 0.
    scale = ops.where(has_direction, q_norm / ops.maximum(x_norm, TINY), 0.0)
    return replace_gradient(quantized, ops.where(has_direction, scale * rotated, inputs))
