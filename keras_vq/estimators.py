"""How gradients pass a quantizer: pure functions (inputs, codes) -> outputs.

The value of every estimator is the codes, to the bit; they differ in the gradient they hand to
the inputs. The codes themselves never get a gradient this way: what trains them are losses or
moving averages.
"""

from collections.abc import Callable

import keras
from keras import ops

from keras_vq._types import Tensor

Estimator = Callable[[Tensor, Tensor], Tensor]


@keras.saving.register_keras_serializable("keras_vq")
def straight_through(inputs: Tensor, codes: Tensor) -> Tensor:
    """Copies the gradient of the outputs to the inputs unchanged.

    Source: van den Oord et al., "Neural Discrete Representation Learning", 2017, section 3.2.

    Args:
        inputs: Float32 tensor of shape `(..., dim)`.
        codes: Float32 tensor of the same shape: what the inputs were quantized to.

    Returns:
        Tensor equal to `codes` whose derivative with respect to `inputs` is the identity.
    """
    inputs, codes = ops.convert_to_tensor(inputs), ops.convert_to_tensor(codes)
    return _with_value(codes, inputs)


@keras.saving.register_keras_serializable("keras_vq")
def rotation_trick(inputs: Tensor, codes: Tensor) -> Tensor:
    """Rotates and scales the gradient as the quantization rotated and scaled the vector.

    Treats the code q as a constant rotation and rescaling of the input x, which turns x/|x| to
    q/|q| in the plane that the two span, and lets the gradient pass through that linear map:
    angles between gradient and vector are kept, so that inputs in one cell may be moved apart.

    Source: Fifty et al., "Restructuring Vector Quantization with the Rotation Trick", 2024.

    Args:
        inputs: Float32 tensor of shape `(..., dim)`.
        codes: Float32 tensor of the same shape: what the inputs were quantized to.

    Returns:
        Tensor equal to `codes`. Where an input is zero it has no direction to rotate, and the
        gradient passes unchanged; where a code is zero the gradient is.
    """
    inputs, codes = ops.convert_to_tensor(inputs), ops.convert_to_tensor(codes)
    x = ops.stop_gradient(inputs)
    q = ops.stop_gradient(codes)
    x_norm, q_norm = _norm(x), _norm(q)
    x_unit = x / ops.maximum(x_norm, _TINY)
    q_unit = q / ops.maximum(q_norm, _TINY)
    bisector = x_unit + q_unit
    w = bisector / ops.maximum(_norm(bisector), _TINY)

    # The rotation I - 2 w wᵀ + 2 q̂ x̂ᵀ maps x̂ to q̂; x̂, q̂ and w are constants.
    along_w = ops.sum(inputs * w, axis=-1, keepdims=True)
    along_x = ops.sum(inputs * x_unit, axis=-1, keepdims=True)
    rotated = inputs - 2.0 * along_w * w + 2.0 * along_x * q_unit
    has_direction = x_norm > _TINY
    # The scale is made finite before it is discarded: the gradient of `where` is 0 times it.
    scale = ops.where(has_direction, q_norm / ops.maximum(x_norm, _TINY), 0.0)
    return _with_value(codes, ops.where(has_direction, scale * rotated, inputs))


def get(identifier: str | Estimator) -> Estimator:
    """The estimator of a name, or the callable itself.

    Raises:
        ValueError: If the name is unknown or the object can't be called.
    """
    if callable(identifier):
        return identifier
    if identifier in _BY_NAME:
        return _BY_NAME[identifier]
    raise ValueError(
        f"`estimator` must be one of {sorted(_BY_NAME)} or a function of (inputs, codes). "
        f"Received: {identifier!r}"
    )


# Below it a float32 vector counts as zero.
_TINY = 1e-12

_BY_NAME: dict[str, Estimator] = {
    "straight_through": straight_through,
    "rotation_trick": rotation_trick,
}


def _norm(vectors: Tensor) -> Tensor:
    return ops.sqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True))


def _with_value(value: Tensor, gradient_of: Tensor) -> Tensor:
    """A tensor with the value of one tensor and the gradient of another.

    `value + (g - stop_gradient(g))` and not the usual `g + stop_gradient(value - g)`, which
    rounds: this way the outputs are codes to the bit.
    """
    return ops.stop_gradient(value) + (gradient_of - ops.stop_gradient(gradient_of))
