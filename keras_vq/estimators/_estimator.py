"""What all estimators share."""

from typing import Protocol

from keras import ops

from keras_vq._types import Tensor


class Estimator(Protocol):
    """A function of (inputs, codes, training) that gives codes with a gradient."""

    def __call__(self, inputs: Tensor, codes: Tensor, training: bool = False) -> Tensor:
        """The codes."""


# Below it the norm of a float32 vector counts as zero.
TINY = 1e-12


def norm(vectors: Tensor) -> Tensor:
    """Euclidean norm of each vector, `(..., dim)` -> `(..., 1)`."""
    return ops.sqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True))
