"""Commitment losses: what pulls vectors to the codes that they chose."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Configurable, Hyperparameter
from keras_vq._types import Tensor


def _check_weight(name: str, value: Any) -> float:
    del name  # quantizers take it as `commitment`
    return _validation.check_not_negative("commitment", value)


@keras.saving.register_keras_serializable("keras_vq")
class SquaredCommitment(Configurable):
    """β · mean of |x - sg(e)|² over vectors x, their codes e, and dimensions.

    Source: van den Oord et al., "Neural Discrete Representation Learning", 2017, equation 3,
    third term.

    Args:
        weight: β, at least 0.

    Raises:
        ValueError: If the weight is negative.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(
        ...     512, commitment=keras_vq.losses.SquaredCommitment(1.0)
        ... )
    """

    weight = Hyperparameter(_check_weight)

    def __init__(self, weight: float = 0.25) -> None:
        self.weight = weight

    def __call__(
        self,
        vectors: Tensor,
        codes: Tensor,
        indices: Tensor,
        codebook: Callable[[], Tensor],
        mask: Tensor | None = None,
    ) -> Tensor:
        """The scalar loss.

        Args:
            vectors: Float32 tensor of shape `(..., dim)`.
            codes: Float32 tensor of the same shape: the code of each vector.
            indices: Int32 tensor of shape `(...)`: the index of each code.
            codebook: Function that gives all codes, a float32 tensor of shape
                `(codebook_size, dim)`: not called here, where computing them would be for nothing.
            mask: Boolean tensor of shape `(...)`, or None.
        """
        del indices, codebook
        return self.weight * vq_ops.error_to_fixed(vectors, codes, mask)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"weight": self.weight}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SquaredCommitment":
        """The loss of a configuration."""
        return cls(**config)


@keras.saving.register_keras_serializable("keras_vq")
class CrossEntropyCommitment(Configurable):
    """β · mean cross-entropy of each vector's softmax(-|x - e|² / T) with the code it chose.

    Where the squared commitment pulls a vector to its code, this one also pushes it from the
    others. It holds a score for every vector and code.

    Args:
        weight: β, at least 0.
        temperature: T, above 0, in units of a squared distance.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(
        ...     512, commitment=keras_vq.losses.CrossEntropyCommitment(0.1)
        ... )
    """

    weight = Hyperparameter(_check_weight)
    temperature = Hyperparameter(_validation.check_positive)

    def __init__(self, weight: float = 1.0, temperature: float = 1.0) -> None:
        self.weight = weight
        self.temperature = temperature

    def __call__(
        self,
        vectors: Tensor,
        codes: Tensor,
        indices: Tensor,
        codebook: Callable[[], Tensor],
        mask: Tensor | None = None,
    ) -> Tensor:
        """The scalar loss; arguments as those of `SquaredCommitment`."""
        del codes
        # A copy: codes that learn by statistics are written to before the gradient is taken.
        fixed = ops.copy(ops.stop_gradient(codebook()))
        distances = vq_ops.squared_distances(ops.reshape(vectors, (-1, fixed.shape[1])), fixed)
        log_p = ops.log_softmax(-distances / self.temperature, axis=-1)
        flat = ops.reshape(indices, (-1, 1))
        chosen = ops.take_along_axis(log_p, flat, axis=1)[:, 0]
        mask = None if mask is None else ops.reshape(mask, (-1,))
        return -self.weight * vq_ops.masked_mean(chosen, mask)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"weight": self.weight, "temperature": self.temperature}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "CrossEntropyCommitment":
        """The loss of a configuration."""
        return cls(**config)


def as_commitment(commitment: Any) -> Any:
    """A commitment loss from a weight, or the object itself."""
    if callable(commitment):
        return commitment
    return SquaredCommitment(commitment)
