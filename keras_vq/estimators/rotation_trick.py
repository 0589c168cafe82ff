"""The rotation trick."""

import keras
from keras import ops

from keras_vq._types import Tensor
from keras_vq.estimators._estimator import TINY, norm
from keras_vq.ops import with_value


@keras.saving.register_keras_serializable("keras_vq")
def rotation_trick(inputs: Tensor, codes: Tensor, training: bool = False) -> Tensor:
    """Rotates and scales the gradient as the quantization rotated and scaled the vector.

    Treats the code q as a constant rotation and rescaling of the input x, which turns x/|x| to
    q/|q| in the plane that the two span, and lets the gradient pass through that linear map:
    angles between gradient and vector are kept, so that inputs in one cell may be moved apart.

    Source: Fifty et al., "Restructuring Vector Quantization with the Rotation Trick", 2024.

    Args:
        inputs: Float32 tensor of shape `(..., dim)`.
        codes: Float32 tensor of the same shape: what the inputs were quantized to.
        training: Makes no difference.

    Returns:
        Tensor equal to `codes`. Where an input is zero it has no direction to rotate, and the
        gradient passes unchanged; where a code is zero the gradient is.

    Example:
        >>> import numpy as np, keras_vq
        >>> inputs, codes = np.array([[0.9, 0.2]], "float32"), np.array([[1.0, 0.0]], "float32")
        >>> outputs = keras_vq.estimators.rotation_trick(inputs, codes)
        >>> [float(value) for value in outputs[0]]
        [1.0, 0.0]
    """
    del training
    inputs, codes = ops.convert_to_tensor(inputs), ops.convert_to_tensor(codes)
    x = ops.stop_gradient(inputs)
    q = ops.stop_gradient(codes)
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
    # The scale is made finite before it is discarded: the gradient of `where` is 0 times it.
    scale = ops.where(has_direction, q_norm / ops.maximum(x_norm, TINY), 0.0)
    return with_value(codes, ops.where(has_direction, scale * rotated, inputs))
