"""A block of a transformer that can also go on position by position."""

import math
from typing import Any

import keras
from keras import layers, ops

from keras_vq import _validation
from keras_vq._hyperparameter import ConfigurableLayer
from keras_vq._types import Shape, Tensor

Cache = tuple[Tensor, Tensor]
"""Keys and values of the positions so far, each `(batch, heads, N, head_dim)`."""


@keras.saving.register_keras_serializable("keras_vq")
class TransformerBlock(ConfigurableLayer):
    """Self-attention and a perceptron, each on normalised inputs and added to them.

    `call` takes all positions at once. `step` takes the next one, with keys and values of those
    before in a cache, and gives what `call` with `causal=True` gives there; Keras's own
    attention layer has no such cache. Sources: Vaswani et al., "Attention Is All You Need",
    2017; normalisation first: Xiong et al., "On Layer Normalization in the Transformer
    Architecture", 2020.

    Args:
        heads: Number of attention heads; divides the inputs' dimension.
        causal: Whether a position sees only itself and those before it.
        expansion: Width of the perceptron's hidden layer over that of the inputs.
        dropout: Share of what is added that is dropped in training, in [0, 1).
        seed: Seed of the dropout.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, N, dim)`.
        mask: Boolean tensor of shape `(batch, N)`: positions that others may look at; None for
            all.
        training: Whether to drop.

    Returns:
        Float tensor of the inputs' shape.

    Raises:
        ValueError: If an argument is out of its range, or `heads` does not divide the dimension.

    Example:
        >>> import numpy as np, keras_vq
        >>> block = keras_vq.layers.TransformerBlock(heads=2)
        >>> tuple(block(np.zeros((1, 6, 8), "float32")).shape)
        (1, 6, 8)
    """

    def __init__(
        self,
        heads: int = 4,
        causal: bool = True,
        expansion: int = 4,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.heads = _validation.check_positive_integer("heads", heads)
        self.causal = bool(causal)
        self.expansion = _validation.check_positive_integer("expansion", expansion)
        self.dropout = _validation.check_fraction("dropout", dropout)
        self.seed = seed
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        """Creates the layers for inputs of shape `(batch, N, dim)`."""
        dim = input_shape[-1] or 0
        if dim == 0 or dim % self.heads:
            raise ValueError(
                "`heads` must divide the dimension of the inputs. "
                f"Received: {self.heads} heads, inputs of shape {tuple(input_shape)}"
            )
        policy = self.dtype_policy
        self.attention_norm = layers.LayerNormalization(epsilon=1e-6, dtype=policy)
        self.to_heads = layers.Dense(3 * dim, dtype=policy, name="to_heads")
        self.from_heads = layers.Dense(dim, dtype=policy, name="from_heads")
        self.perceptron_norm = layers.LayerNormalization(epsilon=1e-6, dtype=policy)
        self.widen = layers.Dense(
            self.expansion * dim, activation="gelu", dtype=policy, name="widen"
        )
        self.narrow = layers.Dense(dim, dtype=policy, name="narrow")
        self.drop = layers.Dropout(self.dropout, seed=self.seed, dtype=policy)
        for part in (self.attention_norm, self.to_heads, self.from_heads, self.perceptron_norm):
            part.build(input_shape)
        self.widen.build(input_shape)
        self.narrow.build((*input_shape[:-1], self.expansion * dim))

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
        """An empty cache.

        Args:
            inputs: Float tensor of shape `(batch, N, dim)`, of which only the shape matters.
        """
        zeros = ops.zeros_like(inputs)
        zeros = ops.reshape(zeros, (-1, self.heads, zeros.shape[1], zeros.shape[2] // self.heads))
        return zeros, zeros

    def step(self, inputs: Tensor, cache: Cache, position: Tensor | int) -> tuple[Tensor, Cache]:
        """Applies the block to the next position.

        Args:
            inputs: Float tensor of shape `(batch, dim)`.
            cache: That of the positions before.
            position: Its number, a scalar.

        Returns:
            The outputs, of the inputs' shape, and the cache with this position in it.
        """
        parts = self._heads_of(self.attention_norm(inputs)[:, None])
        query, key, value = (ops.swapaxes(part, 1, 2) for part in parts)
        here = (0, 0, position, 0)
        keys = ops.slice_update(cache[0], here, key)
        values = ops.slice_update(cache[1], here, value)
        # Whole caches are neither copied nor turned: that would take longer than all else.
        scores = ops.matmul(keys, ops.swapaxes(query, 2, 3)) / math.sqrt(query.shape[-1])
        is_seen = ops.reshape(ops.arange(keys.shape[2]) <= position, (1, 1, -1, 1))
        scores = ops.where(is_seen, scores, -math.inf)
        # Keras's softmax warns of a grid of one position.
        weights = ops.exp(scores - ops.logsumexp(scores, axis=2, keepdims=True))
        attended = ops.matmul(ops.swapaxes(weights, 2, 3), values)
        x = inputs + self._joined(ops.swapaxes(attended, 1, 2))[:, 0]
        return x + self._perceptron(x), (keys, values)

    def _seen(self, mask: Tensor) -> Tensor:
        """Where each may look, `(batch, 1, N, N)`: always at itself, so that a place is left."""
        places = ops.arange(mask.shape[1])
        before, itself = (
            compare(places[:, None], places) for compare in (ops.greater_equal, ops.equal)
        )
        seen = ops.logical_or(ops.cast(mask, "bool")[:, None, None, :], itself)
        return ops.logical_and(seen, before) if self.causal else seen

    def _heads_of(self, x: Tensor) -> list[Tensor]:
        size = x.shape[-1] // self.heads
        x = ops.reshape(self.to_heads(x), (-1, x.shape[1], 3, self.heads, size))
        return [x[:, :, part] for part in range(3)]

    def _joined(self, attended: Tensor) -> Tensor:
        positions, heads, size = attended.shape[1:]
        return self.from_heads(ops.reshape(attended, (-1, positions, heads * size)))

    def _perceptron(self, x: Tensor) -> Tensor:
        return self.narrow(self.widen(self.perceptron_norm(x)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The inputs' shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "heads": self.heads,
            "causal": self.causal,
            "expansion": self.expansion,
            "dropout": self.dropout,
            "seed": self.seed,
        }
