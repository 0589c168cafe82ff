"""Commitment losses, which keep encoder outputs close to their code vectors."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Configurable, Hyperparameter
from keras_vq._types import Tensor


def _check_weight(name: str, value: Any) -> float:
    del name  # quantizers call this argument `commitment`
    return _validation.check_not_negative("commitment", value)


@keras.saving.register_keras_serializable("keras_vq")
class SquaredCommitment(Configurable):
    """Commitment loss: β · mean of |x - sg(e)|² over vectors x, code vectors e, and dimensions.

    sg is the stop-gradient operator.

    Source: van den Oord et al., "Neural Discrete Representation Learning", 2017, equation 3,
    third term.

    Args:
        weight: Float, at least 0. Weight β. Defaults to 0.25.

    Raises:
        ValueError: If the weight is negative or not finite.

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
        """Computes the scalar loss.

        Args:
            vectors: Float32 tensor of shape `(..., dim)`.
            codes: Float32 tensor of the same shape. Code vector of each vector.
            indices: Int32 tensor of codes, of shape `(...)`.
            codebook: Callable that returns all code vectors, a float32 tensor of shape
                `(codebook_size, dim)`. This loss does not call it.
            mask: Boolean tensor of shape `(...)`. `False` excludes a vector; `None` keeps all.
        """
        del indices, codebook
        return self.weight * vq_ops.error_to_fixed(vectors, codes, mask)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {"weight": self.weight}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SquaredCommitment":
        """Creates a loss from its configuration."""
        return cls(**config)


@keras.saving.register_keras_serializable("keras_vq")
class CrossEntropyCommitment(Configurable):
    """Cross-entropy commitment loss: β · mean of -log softmax(-|x - e|² / T) at the assigned code.

    The squared commitment loss pulls a vector x to its code vector; this loss also pushes it away
    from the other code vectors e. It holds a score for each pair of vector and code.

    Args:
        weight: Float, at least 0. Weight β. Defaults to 1.0.
        temperature: Float above 0. Temperature T, in units of a squared distance. Defaults to 1.0.

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
        """Computes the scalar loss; see `SquaredCommitment` for the arguments."""
        del codes
        # A copy, because updates from statistics overwrite code vectors before the backward pass.
        fixed = ops.copy(ops.stop_gradient(codebook()))
        distances = vq_ops.squared_distances(ops.reshape(vectors, (-1, fixed.shape[1])), fixed)
        log_p = ops.log_softmax(-distances / self.temperature, axis=-1)
        flat = ops.reshape(indices, (-1, 1))
        chosen = ops.take_along_axis(log_p, flat, axis=1)[:, 0]
        mask = None if mask is None else ops.reshape(mask, (-1,))
        return -self.weight * vq_ops.masked_mean(chosen, mask)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {"weight": self.weight, "temperature": self.temperature}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "CrossEntropyCommitment":
        """Creates a loss from its configuration."""
        return cls(**config)


def as_commitment(commitment: Any) -> Any:
    """Returns `SquaredCommitment(commitment)` for a number, or a callable as it is."""
    if callable(commitment):
        return commitment
    return SquaredCommitment(commitment)
