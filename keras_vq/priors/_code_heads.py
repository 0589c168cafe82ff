"""From what a model knows of a position to the probabilities of its codes."""

from typing import Any

import keras
from keras import layers

from keras_vq._hyperparameter import ConfigurableLayer
from keras_vq._types import Shape, Tensor
from keras_vq.layers.code_embedding import CodeEmbedding


@keras.saving.register_keras_serializable("keras_vq")
class CodeHeads(ConfigurableLayer):
    """Logits of the codes of a position, each level's given those of the levels before.

    The codes of one position (of residual or grouped quantizers) depend on each other: each
    level has a perceptron of its own, which is told the codes before it by the sum of their
    vectors, as the depth transformer of Lee et al., "Autoregressive Image Generation using
    Residual Quantization", 2022, is. With one level it is a perceptron.

    Args:
        codebook_sizes: Number of codes of each level.
        dim: Dimension of the contexts, and width of the hidden layers.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, codebook_sizes: tuple[int, ...], dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.codebook_sizes, self.dim = codebook_sizes, dim

    def build(self, input_shape: Shape) -> None:
        """Creates the layers."""
        del input_shape
        policy, context = self.dtype_policy, (None, self.dim)
        hidden = {"activation": "relu", "dtype": policy}
        self.hidden = [layers.Dense(self.dim, **hidden) for _ in self.codebook_sizes]
        # In float32: half precision rounds away what likelihoods need.
        self.logits = [layers.Dense(size, dtype="float32") for size in self.codebook_sizes]
        for part in (*self.hidden, *self.logits):
            part.build(context)
        if len(self.codebook_sizes) > 1:
            self.before = CodeEmbedding(self.codebook_sizes[:-1], self.dim, dtype=policy)
            self.before.build((None, len(self.codebook_sizes) - 1))

    def level(self, context: Tensor, codes_before: Tensor | None, level: int) -> Tensor:
        """Logits of one level.

        Args:
            context: Float tensor of shape `(..., dim)`.
            codes_before: Int32 tensor of shape `(..., level)`; ignored at level 0.
            level: Number of the level.

        Returns:
            Float32 tensor of shape `(..., codebook_sizes[level])`.
        """
        if level > 0:
            context = context + self.before(codes_before)
        return self.logits[level](self.hidden[level](context))

    def call(self, contexts: Tensor, codes: Tensor) -> tuple[Tensor, ...]:
        """Logits of all levels, from the codes as they are.

        Args:
            contexts: Float tensor of shape `(..., dim)`.
            codes: Int32 tensor of shape `(..., L)`.

        Returns:
            For each level a float32 tensor of shape `(..., size)`.
        """
        levels = range(len(self.codebook_sizes))
        return tuple(self.level(contexts, codes[..., :level], level) for level in levels)
