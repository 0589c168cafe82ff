"""Transformer network of `TransformerPrior` and `MaskedPrior`."""

from typing import Any

import keras
from keras import layers, ops

from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor
from keras_vq.layers.grid_positions import GridPositions
from keras_vq.layers.transformer_block import TransformerBlock


@keras.saving.register_keras_serializable("keras_vq")
class Transformer(ConfigurableLayer):
    """Transformer over the positions of a grid, with positional embeddings and conditioning.

    Args:
        grid_shape: Tuple of integers. Shape of the grid of positions.
        hidden_dim: Integer. Width of the transformer.
        num_layers: Integer. Number of transformer blocks.
        num_heads: Integer. Number of attention heads per block.
        causal: Boolean. Whether a position attends only to itself and earlier positions.
        dropout: Float. Dropout rate.
        seed: Integer. Seed of the dropout. Defaults to None.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(
        self,
        grid_shape: tuple[int, ...],
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        causal: bool,
        dropout: float,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        policy = self.dtype_policy
        options = {"causal": causal, "dropout": dropout, "seed": seed, "dtype": policy}
        self.places = GridPositions(grid_shape, hidden_dim, dtype=policy)
        self.drop = layers.Dropout(dropout, seed=seed, dtype=policy)
        self.blocks = [TransformerBlock(num_heads, **options) for _ in range(num_layers)]
        self.norm = layers.LayerNormalization(epsilon=1e-6, dtype=policy)

    def build(self, input_shape: Shape) -> None:
        """Builds the layers for inputs of shape `(batch, N, dim)`."""
        for part in (self.places, *self.blocks, self.norm):
            part.build(input_shape)

    def at_places(self, embedded: Tensor, given: Tensor | None) -> Tensor:
        """Adds positional embeddings and conditioning vectors to the embeddings.

        Args:
            embedded: Float tensor of shape `(batch, N, dim)`.
            given: Output of `Conditioning`, or None.

        Returns:
            Float tensor of shape `(batch, N, dim)`.
        """
        x = self.places(embedded)
        if given is None:
            return x
        return x + ops.reshape(given, (-1, given.shape[1] * given.shape[2], self.hidden_dim))

    def call(self, embedded: Tensor, given: Tensor | None, training: bool = False) -> Tensor:
        """Computes the hidden states of all positions. Shape `(batch, N, dim)`."""
        x = self.drop(self.at_places(embedded, given), training=training)
        for block in self.blocks:
            x = block(x, training=training)
        return self.norm(x)
