"""Orthogonality regularizer for codebooks."""

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._configurable import Configurable
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Tensor


@keras.saving.register_keras_serializable("keras_vq")
class Orthogonality(Configurable, keras.regularizers.Regularizer):
    """Orthogonality regularizer: weight · |Ê Êᵀ - I|² / K² for K code vectors Ê of unit norm.

    This is the mean squared cosine similarity between different code vectors. It is computed from
    the (dim, dim) matrix Êᵀ Ê instead of the (K, K) matrix. A zero vector counts as orthogonal to
    all others.

    Source: Shin et al., "Translation-equivariant Image Quantizer for Bi-directional Image-Text
    Generation", 2021, section 3.1.

    Args:
        weight: Float, at least 0. Weight of the penalty.

    Raises:
        ValueError: If the weight is negative.

    Example:
        >>> import keras_vq
        >>> penalty = keras_vq.regularizers.Orthogonality(10.0)
        >>> codebook = keras_vq.GradientCodebook(512, regularizer=penalty)
    """

    weight = Hyperparameter(_validation.check_not_negative)

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Computes the scalar penalty of code vectors of shape `(codebook_size, dim)`."""
        unit = vq_ops.unit_vectors(embeddings)
        gram = ops.matmul(ops.transpose(unit), unit)
        # Of the K² cosines, those of a vector with itself are 1 (0 for a zero vector).
        with_themselves = ops.sum(ops.sum(ops.square(unit), axis=-1) ** 2)
        count = unit.shape[0]
        return self.weight * (ops.sum(ops.square(gram)) - with_themselves) / count**2
