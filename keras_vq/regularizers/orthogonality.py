"""The penalty that pushes codes apart in direction."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._types import Tensor


@keras.saving.register_keras_serializable("keras_vq")
class Orthogonality(keras.regularizers.Regularizer):
    """Weight times |Ê Êᵀ - I|² / K², where Ê are the K codes scaled to unit norm.

    The mean square of the cosines between different codes, in other words. It is computed from
    the (dim, dim) matrix Êᵀ Ê, never from the (K, K) one. A code of zero counts as orthogonal
    to all.

    Source: Shin et al., "Translation-equivariant Image Quantizer for Bi-directional Image-Text
    Generation", 2021, section 3.1.

    Args:
        weight: At least 0.

    Raises:
        ValueError: If the weight is negative.

    Example:
        >>> import keras_vq
        >>> penalty = keras_vq.regularizers.Orthogonality(10.0)
        >>> codebook = keras_vq.Codebook(512, regularizer=penalty)
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = _validation.check_not_negative("weight", weight)

    def __call__(self, codes: Tensor) -> Tensor:
        """The scalar penalty of codes of shape `(codebook_size, dim)`."""
        unit = vq_ops.unit_vectors(codes)
        gram = ops.matmul(ops.transpose(unit), unit)
        # Of the K² cosines those of a code with itself are 1 (0 for a code of zero).
        with_themselves = ops.sum(ops.sum(ops.square(unit), axis=-1) ** 2)
        count = unit.shape[0]
        return self.weight * (ops.sum(ops.square(gram)) - with_themselves) / count**2

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"weight": self.weight}
