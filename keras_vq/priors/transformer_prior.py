"""A prior over codes by a transformer that reads them in order."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._types import Tensor
from keras_vq.priors._transformer import Transformer
from keras_vq.priors.autoregressive import AutoregressivePrior, State


@keras.saving.register_keras_serializable("keras_vq")
class TransformerPrior(AutoregressivePrior):
    """A decoder-only transformer over the positions of a grid of codes, in row-major order.

    Places are told by learned vectors of their row and column. Sampling keeps the keys and
    values of earlier positions. Source: Esser et al., "Taming Transformers for High-Resolution
    Image Synthesis", 2021, with the several codes of a position drawn as by Lee et al.,
    "Autoregressive Image Generation using Residual Quantization", 2022.

    Args:
        codebook_size: Number of codes, or of each level; see `CodePrior`.
        grid_shape: Shape of the grid of positions, of any number of axes.
        num_classes: Number of labels to generate by; None for no labels.
        dim: Width of the transformer.
        depth: Number of transformer blocks.
        heads: Attention heads of a block; divides `dim`.
        dropout: Share dropped in training, in [0, 1).
        **kwargs: Other arguments of `CodePrior`.

    Example:
        >>> import numpy as np, keras_vq
        >>> codes = np.random.default_rng(0).integers(0, 16, (64, 2, 2))
        >>> prior = keras_vq.priors.TransformerPrior(16, (2, 2), dim=16, depth=1)
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
        dim: int = 128,
        depth: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(codebook_size, grid_shape, num_classes, dim=dim, **kwargs)
        self.depth = _validation.check_positive_integer("depth", depth)
        self.heads = _validation.check_positive_integer("heads", heads)
        self.dropout = _validation.check_fraction("dropout", dropout)
        self.build()

    def build_network(self) -> None:
        """Creates the layers."""
        super().build_network()
        self.start = self.add_weight(name="start", shape=(self.dim,), initializer="zeros")
        self.transformer = Transformer(
            self.grid_shape,
            self.dim,
            self.depth,
            self.heads,
            causal=True,
            dropout=self.dropout,
            seed=self.seed,
            dtype=self.dtype_policy,
        )
        self.transformer.build((None, self.positions, self.dim))

    def contexts(self, codes: Tensor, given: Tensor | None, training: bool) -> Tensor:
        """What the transformer makes of the codes before each position."""
        embedded = self.embedding(codes)
        start = ops.zeros_like(embedded[:, :1]) + ops.cast(self.start, embedded.dtype)
        moved_on = ops.concatenate([start, embedded[:, :-1]], axis=1)
        return self.transformer(moved_on, given, training=training)

    def first_state(self, like: Tensor, given: Tensor | None) -> State:
        """What is added at each place, and empty caches of keys and values."""
        zeros = ops.zeros_like(self.embedding(like))
        added = self.transformer.at_places(zeros, given)
        return added, tuple(block.start_cache(zeros) for block in self.transformer.blocks)

    def step(self, position: Any, before: Tensor, state: State) -> tuple[Tensor, State]:
        """What the transformer makes of the codes before a position."""
        added, caches = state
        here = ops.take(added, position, axis=1)
        start = ops.cast(self.start, here.dtype)
        x = here + ops.where(ops.equal(position, 0), start, self.embedding(before))
        new_caches = []
        for block, cache in zip(self.transformer.blocks, caches, strict=True):
            x, cache = block.step(x, cache, position)
            new_caches.append(cache)
        return self.transformer.norm(x), (added, tuple(new_caches))

    def floats_of_a_sample(self) -> int:
        """Keys and values of all blocks, and what every prior keeps."""
        return super().floats_of_a_sample() + 2 * self.depth * self.positions * self.dim

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "depth": self.depth,
            "heads": self.heads,
            "dropout": self.dropout,
        }
