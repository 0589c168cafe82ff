"""Vectors that stand for codes in a model of codes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class CodeEmbedding(ConfigurableLayer):
    """A learned vector for each code of each level, summed over the levels of a position.

    State that changes in training: the table, by gradient.

    Args:
        codebook_sizes: Number of codes of each level.
        dim: Dimension of the vectors.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        codes: Int32 tensor of shape `(..., L)` for L levels, in `[0, size)` of the level. Fewer
            levels than L are taken to be the first ones.

    Returns:
        Float tensor of shape `(..., dim)`.

    Example:
        >>> import numpy as np, keras_vq
        >>> embedding = keras_vq.layers.CodeEmbedding((16, 8), dim=4)
        >>> tuple(embedding(np.array([[15, 7], [0, 3], [2, 2]])).shape)
        (3, 4)
    """

    def __init__(self, codebook_sizes: Sequence[int], dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.codebook_sizes = tuple(codebook_sizes)
        self.dim = _validation.check_positive_integer("dim", dim)
        # One table, the levels' codes below each other.
        self.starts = np.cumsum([0, *self.codebook_sizes[:-1]]).astype("int32")
        self.table = keras.layers.Embedding(
            sum(self.codebook_sizes), self.dim, dtype=self.dtype_policy, name="table"
        )

    def build(self, input_shape: Shape) -> None:
        """Creates the table."""
        self.table.build(input_shape)

    def call(self, codes: Tensor) -> Tensor:
        """Looks the codes up."""
        codes = ops.convert_to_tensor(codes, dtype="int32")
        levels = codes.shape[-1]
        vectors = self.table(ops.add(codes, self.starts[:levels]))
        return vectors[..., 0, :] if levels == 1 else ops.sum(vectors, axis=-2)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The codes' shape with the levels' axis replaced by the vectors'."""
        return (*input_shape[:-1], self.dim)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        return {**config, "codebook_sizes": self.codebook_sizes, "dim": self.dim}
