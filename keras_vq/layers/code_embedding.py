"""Embedding layer for codes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class CodeEmbedding(ConfigurableLayer):
    """Embedding of codes: one trainable vector per code of each codebook, summed over codebooks.

    Args:
        codebook_sizes: Sequence of integers. Size of each codebook.
        dim: Integer. Dimension of the output vectors.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        codes: Int32 tensor of shape `(..., L)` for L codebooks, with codes in `[0, size)` of each
            codebook. A shorter last axis holds the codes of the first codebooks.

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
        # All codebooks share one table, with an offset per codebook.
        self.starts = np.cumsum([0, *self.codebook_sizes[:-1]]).astype("int32")
        self.table = keras.layers.Embedding(
            sum(self.codebook_sizes), self.dim, dtype=self.dtype_policy, name="table"
        )

    def build(self, input_shape: Shape) -> None:
        """Creates the embedding table."""
        self.table.build(input_shape)

    def call(self, codes: Tensor) -> Tensor:
        """Returns the summed embeddings of the codes."""
        codes = ops.convert_to_tensor(codes, dtype="int32")
        stages = codes.shape[-1]
        vectors = self.table(ops.add(codes, self.starts[:stages]))
        return vectors[..., 0, :] if stages == 1 else ops.sum(vectors, axis=-2)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input shape with the last axis replaced by `dim`."""
        return (*input_shape[:-1], self.dim)
