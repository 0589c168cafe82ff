"""The network of the priors that are transformers."""

from typing import Any

import keras
from keras import layers, ops

from keras_vq._hyperparameter import ConfigurableLayer
from keras_vq._types import Shape, Tensor
from keras_vq.layers.grid_positions import GridPositions
from keras_vq.layers.transformer_block import TransformerBlock


@keras.saving.register_keras_serializable("keras_vq")
class Transformer(ConfigurableLayer):
    """Transformer blocks over the positions of a grid, told where each is and what is given there.

    Args:
        grid_shape: Shape of the grid of positions.
        dim: Width.
        depth: Number of blocks.
        heads: Attention heads of a block.
        causal: Whether a position sees only itself and those before it.
        dropout: Share dropped in training.
        seed: Seed of the dropout.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(
        self,
        grid_shape: tuple[int, ...],
        dim: int,
        depth: int,
        heads: int,
        causal: bool,
        dropout: float,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dim = dim
        policy = self.dtype_policy
        options = {"causal": causal, "dropout": dropout, "seed": seed, "dtype": policy}
        self.places = GridPositions(grid_shape, dim, dtype=policy)
        self.drop = layers.Dropout(dropout, seed=seed, dtype=policy)
        self.blocks = [TransformerBlock(heads, **options) for _ in range(depth)]
        self.norm = layers.LayerNormalization(epsilon=1e-6, dtype=policy)

    def build(self, input_shape: Shape) -> None:
        """Builds the layers for inputs of shape `(batch, N, dim)`."""
        for part in (self.places, *self.blocks, self.norm):
            part.build(input_shape)

    def at_places(self, embedded: Tensor, given: Tensor | None) -> Tensor:
        """Vectors `(batch, N, dim)`, with those of their places and what `Conditioning` made."""
        x = self.places(embedded)
        if given is None:
            return x
        return x + ops.reshape(given, (-1, given.shape[1] * given.shape[2], self.dim))

    def call(self, embedded: Tensor, given: Tensor | None, training: bool = False) -> Tensor:
        """What the transformer makes of all positions, `(batch, N, dim)`."""
        x = self.drop(self.at_places(embedded, given), training=training)
        for block in self.blocks:
            x = block(x, training=training)
        return self.norm(x)
