"""Protocol and helpers of gradient estimators."""

from typing import Protocol

from keras import ops

from keras_vq._types import Tensor


class Estimator(Protocol):
    """Protocol of gradient estimators: callables `(inputs, quantized, training) -> outputs`."""

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
