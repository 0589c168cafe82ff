"""Protocol and helpers of gradient estimators."""

from typing import Protocol

from keras import ops

from keras_vq._types import Tensor


class Estimator(Protocol):
    """Protocol of gradient estimators: callables `(inputs, quantized, training) -> outputs`.

    Example:
        >>> import numpy as np, keras_vq
        >>> def scaled(inputs, quantized, training=False):
        ...     return keras_vq.ops.replace_gradient(quantized, 0.5 * inputs)
        >>> quantizer = keras_vq.VectorQuantizer(8, estimator=scaled)
        >>> quantizer(np.zeros((2, 4), "float32"))[0].shape == (2, 4)
        True
    """

    def __call__(self, inputs: Tensor, quantized: Tensor, training: bool = False) -> Tensor:
        """Returns the code vectors, with the gradient of the estimator.

        Args:
            inputs: Float32 tensor of shape `(..., dim)`.
            quantized: Float32 tensor of the code vectors of the inputs, of the same shape.
            training: Boolean. Whether the call is part of a training step. Defaults to `False`.
        """


# Norms of float32 vectors below this value count as zero.
TINY = 1e-12


def norm(vectors: Tensor) -> Tensor:
    """Computes the Euclidean norm of each vector, `(..., dim)` -> `(..., 1)`."""
    return ops.sqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True))
