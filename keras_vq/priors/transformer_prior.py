"""Autoregressive transformer prior over codes."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._types import Tensor
from keras_vq.priors._transformer import Transformer
from keras_vq.priors.autoregressive import AutoregressivePrior, State


@keras.saving.register_keras_serializable("keras_vq")
class TransformerPrior(AutoregressivePrior):
    """Decoder-only transformer over the positions of a code grid, in row-major order.

    Positional embeddings are learned, one per row and one per column. Sampling uses a KV cache.
    Source: Esser et al., "Taming Transformers for High-Resolution Image Synthesis", 2021. Several
    codes of one position are sampled as in Lee et al., "Autoregressive Image Generation using
    Residual Quantization", 2022.

    Args:
        codebook_size: Integer, or list of integers. Codebook size or sizes; see `CodePrior`.
        grid_shape: Tuple of integers. Shape of the code grid, with any number of axes.
        num_classes: Integer. Number of classes for class conditioning. None disables it.
            Defaults to None.
        hidden_dim: Integer. Width of the transformer. Defaults to 128.
        num_layers: Integer. Number of transformer blocks. Defaults to 4.
        num_heads: Integer. Number of attention heads per block. Must divide `hidden_dim`. Defaults
            to 4.
        dropout: Float in [0, 1). Dropout rate. Defaults to 0.1.
        **kwargs: Other arguments of `CodePrior`.

    Example:
        >>> import numpy as np, keras_vq
        >>> codes = np.random.default_rng(0).integers(0, 16, (64, 2, 2))
        >>> prior = keras_vq.priors.TransformerPrior(16, (2, 2), hidden_dim=16, num_layers=1)
        >>> prior.compile("adam")
        >>> history = prior.fit(prior.as_inputs(codes), verbose=0)
        >>> prior.generate(3, seed=0).shape
        (3, 2, 2)
    """

    def __init__(
        self,
        codebook_size: Any,
        grid_shape: Any,
        num_classes: int | None = None,
        hidden_dim: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(codebook_size, grid_shape, num_classes, hidden_dim=hidden_dim, **kwargs)
        self.num_layers = _validation.check_positive_integer("num_layers", num_layers)
        self.num_heads = _validation.check_positive_integer("num_heads", num_heads)
        self.dropout = _validation.check_fraction("dropout", dropout)
        self.build()

    def _build_network(self) -> None:
        """Creates the layers."""
        super()._build_network()
        self.start = self.add_weight(name="start", shape=(self.hidden_dim,), initializer="zeros")
        self.transformer = Transformer(
            self.grid_shape,
            self.hidden_dim,
            self.num_layers,
            self.num_heads,
            causal=True,
            dropout=self.dropout,
            seed=self.seed,
            dtype=self.dtype_policy,
        )
        self.transformer.build((None, self._positions, self.hidden_dim))

    def _contexts(self, codes: Tensor, given: Tensor | None, training: bool) -> Tensor:
        """Computes the transformer output at each position from the codes of earlier positions."""
        embedded = self.embedding(codes)
        start = ops.zeros_like(embedded[:, :1]) + ops.cast(self.start, embedded.dtype)
        moved_on = ops.concatenate([start, embedded[:, :-1]], axis=1)
        return self.transformer(moved_on, given, training=training)

    def _first_state(self, like: Tensor, given: Tensor | None) -> State:
        """Returns the positional and conditioning vectors, and an empty KV cache per block."""
        zeros = ops.zeros_like(self.embedding(like))
        added = self.transformer.at_places(zeros, given)
        return added, tuple(block.start_cache(zeros) for block in self.transformer.blocks)

    def _step(self, position: Any, before: Tensor, state: State) -> tuple[Tensor, State]:
        """Computes the transformer output at one position with the KV cache."""
        added, caches = state
        here = ops.take(added, position, axis=1)
        start = ops.cast(self.start, here.dtype)
        x = here + ops.where(ops.equal(position, 0), start, self.embedding(before))
        new_caches = []
        for block, cache in zip(self.transformer.blocks, caches, strict=True):
            x, cache = block._step(x, cache, position)
            new_caches.append(cache)
        return self.transformer.norm(x), (added, tuple(new_caches))

    def _floats_per_sample(self) -> int:
        """Returns the approximate number of floats held per sample, including the KV cache."""
        return (
            super()._floats_per_sample() + 2 * self.num_layers * self._positions * self.hidden_dim
        )
