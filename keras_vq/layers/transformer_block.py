"""Transformer block with a KV cache."""

import math
from typing import Any

import keras
from keras import layers, ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor

Cache = tuple[Tensor, Tensor]
"""Keys and values of the positions so far, each `(batch, heads, N, head_dim)`."""


@keras.saving.register_keras_serializable("keras_vq")
class TransformerBlock(ConfigurableLayer):
    """Pre-norm transformer block (self-attention and MLP) with a KV cache.

    Priors compute one position at a time with a KV cache of earlier ones, with the output of `call`
    with `causal=True` at that position; the attention layer of Keras has no such cache. Sources:
    Vaswani et al., "Attention Is All You Need", 2017; Xiong et al., "On Layer Normalization in the
    Transformer Architecture", 2020 (pre-norm).

    Args:
        num_heads: Integer. Number of attention heads. Must divide the input dimension. Defaults to
            4.
        causal: Boolean. Whether a position attends only to itself and earlier positions. Defaults
            to True.
        mlp_ratio: Integer. Ratio of the hidden width of the MLP to the input dimension. Defaults
            to 4.
        dropout: Float in [0, 1). Dropout rate of the attention and MLP outputs. Defaults to 0.0.
        seed: Integer. Seed of the dropout. Defaults to None.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, N, dim)`.
        mask: Boolean tensor of shape `(batch, N)`. False for positions that no other position may
            attend to. None masks no position. Defaults to None.
        training: Boolean. Whether to apply dropout. Defaults to None.

    Returns:
        Float tensor of the input shape.

    Raises:
        ValueError: If an argument is out of range, or `num_heads` does not divide the input
            dimension.

    Example:
        >>> import numpy as np, keras_vq
        >>> block = keras_vq.layers.TransformerBlock(num_heads=2)
        >>> tuple(block(np.zeros((1, 6, 8), "float32")).shape)
        (1, 6, 8)
    """

    def __init__(
        self,
        num_heads: int = 4,
        causal: bool = True,
        mlp_ratio: int = 4,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = _validation.check_positive_integer("num_heads", num_heads)
        self.causal = bool(causal)
        self.mlp_ratio = _validation.check_positive_integer("mlp_ratio", mlp_ratio)
        self.dropout = _validation.check_fraction("dropout", dropout)
        self.seed = seed
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        """Creates the layers for inputs of shape `(batch, N, dim)`."""
        hidden_dim = input_shape[-1] or 0
        if hidden_dim == 0 or hidden_dim % self.num_heads:
            raise ValueError(
                "`num_heads` must divide the dimension of the inputs. "
                f"Received: {self.num_heads} heads, inputs of shape {tuple(input_shape)}"
            )
        policy = self.dtype_policy
        self.attention_norm = layers.LayerNormalization(epsilon=1e-6, dtype=policy)
        self.to_heads = layers.Dense(3 * hidden_dim, dtype=policy, name="to_heads")
        self.from_heads = layers.Dense(hidden_dim, dtype=policy, name="from_heads")
        self.perceptron_norm = layers.LayerNormalization(epsilon=1e-6, dtype=policy)
        self.widen = layers.Dense(
            self.mlp_ratio * hidden_dim, activation="gelu", dtype=policy, name="widen"
        )
        self.narrow = layers.Dense(hidden_dim, dtype=policy, name="narrow")
        self.drop = layers.Dropout(self.dropout, seed=self.seed, dtype=policy)
        for part in (self.attention_norm, self.to_heads, self.from_heads, self.perceptron_norm):
            part.build(input_shape)
        self.widen.build(input_shape)
        self.narrow.build((*input_shape[:-1], self.mlp_ratio * hidden_dim))

    def call(
        self, inputs: Tensor, mask: Tensor | None = None, training: bool | None = None
    ) -> Tensor:
        """Applies the block to all positions."""
        query, key, value = self._heads_of(self.attention_norm(inputs))
        if mask is None:
            attended = ops.dot_product_attention(query, key, value, is_causal=self.causal)
        else:
            attended = ops.dot_product_attention(query, key, value, mask=self._seen(mask))
        x = inputs + self.drop(self._joined(attended), training=training)
        return x + self.drop(self._perceptron(x), training=training)

    def start_cache(self, inputs: Tensor) -> Cache:
        """Returns an empty KV cache.

        Args:
            inputs: Float tensor of shape `(batch, N, dim)`; only its shape and data type are used.
        """
        zeros = ops.zeros_like(inputs)
        zeros = ops.reshape(
            zeros, (-1, self.num_heads, zeros.shape[1], zeros.shape[2] // self.num_heads)
        )
        return zeros, zeros

    def _step(self, inputs: Tensor, cache: Cache, position: Tensor | int) -> tuple[Tensor, Cache]:
        """Applies the block to the next position, and updates the KV cache.

        Args:
            inputs: Float tensor of shape `(batch, dim)`.
            cache: KV cache of the earlier positions.
            position: Scalar integer. Index of the position.

        Returns:
            Tuple of the output, a float tensor of the input shape, and the cache with this
            position.
        """
        parts = self._heads_of(self.attention_norm(inputs)[:, None])
        query, key, value = (ops.swapaxes(part, 1, 2) for part in parts)
        here = (0, 0, position, 0)
        keys = ops.slice_update(cache[0], here, key)
        values = ops.slice_update(cache[1], here, value)
        # Transpose the query and the weights, because copying the caches would dominate the cost.
        scores = ops.matmul(keys, ops.swapaxes(query, 2, 3)) / math.sqrt(query.shape[-1])
        is_seen = ops.reshape(ops.arange(keys.shape[2]) <= position, (1, 1, -1, 1))
        scores = ops.where(is_seen, scores, -math.inf)
        # `keras.ops.softmax` warns about an axis of size 1.
        weights = ops.exp(scores - ops.logsumexp(scores, axis=2, keepdims=True))
        attended = ops.matmul(ops.swapaxes(weights, 2, 3), values)
        x = inputs + self._joined(ops.swapaxes(attended, 1, 2))[:, 0]
        return x + self._perceptron(x), (keys, values)

    def _seen(self, mask: Tensor) -> Tensor:
        """Computes the attention mask of shape `(batch, 1, N, N)`.

        A position always attends to itself, so that no row of the mask is empty.
        """
        places = ops.arange(0, mask.shape[1])
        before, itself = (
            compare(places[:, None], places) for compare in (ops.greater_equal, ops.equal)
        )
        seen = ops.logical_or(ops.cast(mask, "bool")[:, None, None, :], itself)
        return ops.logical_and(seen, before) if self.causal else seen

    def _heads_of(self, x: Tensor) -> list[Tensor]:
        size = x.shape[-1] // self.num_heads
        x = ops.reshape(self.to_heads(x), (-1, x.shape[1], 3, self.num_heads, size))
        return [x[:, :, part] for part in range(3)]

    def _joined(self, attended: Tensor) -> Tensor:
        positions, num_heads, size = attended.shape[1:]
        return self.from_heads(ops.reshape(attended, (-1, positions, num_heads * size)))

    def _perceptron(self, x: Tensor) -> Tensor:
        return self.narrow(self.widen(self.perceptron_norm(x)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input shape."""
        return input_shape
