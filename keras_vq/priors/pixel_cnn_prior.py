"""A prior over codes by the gated PixelCNN."""

from typing import Any

import keras
from keras import layers, ops

from keras_vq import _validation
from keras_vq._types import Tensor
from keras_vq.layers.gated_masked_convolution import GatedMaskedConvolution, with_zeros
from keras_vq.priors.autoregressive import AutoregressivePrior, Choose
from keras_vq.priors.base import as_plane


@keras.saving.register_keras_serializable("keras_vq")
class PixelCNNPrior(AutoregressivePrior):
    """The gated PixelCNN over the positions of a grid of codes, in row-major order.

    A grid of more than two axes is taken as a plane, its rows below each other; one of one axis
    as a single row. Sampling computes each row of the vertical stack and each position of the
    horizontal stack once, from the last few before. Source: van den Oord et al., "Conditional
    Image Generation with PixelCNN Decoders", 2016.

    Args:
        codebook_size: Number of codes, or of each level; see `CodePrior`.
        grid_shape: Shape of the grid of positions.
        num_classes: Number of labels to generate by; None for no labels.
        dim: Channels of the layers.
        depth: Number of gated layers.
        kernel_size: Odd size of their kernels.
        dropout: Share of the channels between layers that is dropped in training, in [0, 1).
        **kwargs: Other arguments of `CodePrior`.

    Example:
        >>> import numpy as np, keras_vq
        >>> codes = np.random.default_rng(0).integers(0, 16, (64, 2, 2))
        >>> prior = keras_vq.priors.PixelCNNPrior(16, (2, 2), dim=8, depth=2)
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
        dim: int = 96,
        depth: int = 5,
        kernel_size: int = 3,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(codebook_size, grid_shape, num_classes, dim=dim, **kwargs)
        self.depth = _validation.check_positive_integer("depth", depth)
        self.kernel_size = kernel_size
        self.dropout = _validation.check_fraction("dropout", dropout)
        self.build()

    def build_network(self) -> None:
        """Creates the layers."""
        super().build_network()
        policy, steps = self.dtype_policy, range(self.depth)
        self.plane = as_plane(self.grid_shape)
        self.gated = [
            GatedMaskedConvolution(self.dim, self.kernel_size, dtype=policy) for _ in steps
        ]
        for part in self.gated:
            part.build((None, *self.plane, self.dim))
        self.drop = layers.Dropout(self.dropout, seed=self.seed, dtype=policy)
        self.given_to: list[Any] = []
        if self.num_classes is not None or self.condition_shape is not None:
            # For each layer what its two stacks are given.
            self.given_to = [layers.Dense(4 * self.dim, dtype=policy) for _ in steps]
            for part in self.given_to:
                part.build((None, None, None, self.dim))

    def contexts(self, codes: Tensor, given: Tensor | None, training: bool) -> Tensor:
        """What the horizontal stack knows of each position."""
        height, width = self.plane
        embedded = ops.reshape(self.embedding(codes), (-1, height, width, self.dim))
        # A position sees neither itself nor what comes after it: all is moved on by one.
        vertical = with_zeros(embedded, axis=1, before=1)[:, :-1]
        horizontal = with_zeros(embedded, axis=2, before=1)[:, :, :-1]
        for layer, condition in zip(self.gated, self._conditions(given), strict=True):
            vertical, horizontal = layer(vertical, horizontal, condition)
            horizontal = self.drop(horizontal, training=training)
        return ops.reshape(horizontal, (-1, height * width, self.dim))

    def _conditions(self, given: Tensor | None) -> list[Any]:
        """For each layer what its vertical and its horizontal stack are given; or None."""
        if given is None:
            return [None] * self.depth
        return [ops.split(dense(given), 2, axis=-1) for dense in self.given_to]

    def sample_positions(self, like: Tensor, given: Tensor | None, choose: Choose) -> Tensor:
        """Draws row after row; each stack is computed once at each place."""
        height, width = self.plane
        reach = self.gated[0].reach
        levels = like.shape[-1]
        conditions = self._conditions(given)
        zeros = ops.zeros_like(self.embedding(like))
        zero_row = ops.reshape(zeros, (-1, height, width, self.dim))[:, :1]
        zero = zero_row[:, :, :1]
        rows_before = ops.concatenate([zero_row] * max(reach, 1), axis=1)[:, :reach]
        positions_before = ops.concatenate([zero] * max(reach, 1), axis=2)[:, :, :reach]
        columns = ops.reshape(ops.arange(width), (1, 1, -1, 1))
        rows = ops.reshape(ops.arange(height), (1, -1, 1, 1))

        def draw_row(row: Any, state: Any) -> Any:
            codes, embedded_row, caches = state
            x, from_above, new_caches = embedded_row, [], []
            for layer, cache, condition in zip(self.gated, caches, conditions, strict=True):
                for_vertical, for_horizontal = (
                    (0.0, 0.0) if condition is None else (_row(part, row) for part in condition)
                )
                x, above, cache = layer.step_row(x, cache, for_vertical)
                from_above.append(above + for_horizontal)
                new_caches.append(cache)
            # One tensor, of which a position takes one slice.
            from_above = ops.stack(from_above, axis=1)

            def draw_column(column: Any, state: Any) -> Any:
                row_codes, row_embedded, before, caches = state
                here = ops.expand_dims(ops.take(from_above, column, axis=3), axis=3)
                x, new_caches = before, []
                for index, (layer, cache) in enumerate(zip(self.gated, caches, strict=True)):
                    x, cache = layer.step_column(x, cache, here[:, index])
                    new_caches.append(cache)
                drawn = choose(x[:, 0, 0], row * width + column)
                embedded = self.embedding(drawn)[:, None, None]
                is_here = ops.equal(columns, column)
                row_codes = ops.where(is_here, drawn[:, None, None], row_codes)
                row_embedded = ops.where(is_here, embedded, row_embedded)
                return row_codes, row_embedded, embedded, tuple(new_caches)

            start = (
                ops.zeros_like(codes[:, :1]),
                zero_row,
                zero,
                tuple(positions_before for _ in self.gated),
            )
            row_codes, embedded_row, _, _ = ops.fori_loop(0, width, draw_column, start)
            codes = ops.where(ops.equal(rows, row), row_codes, codes)
            return codes, embedded_row, tuple(new_caches)

        codes = ops.reshape(like, (-1, height, width, levels))
        start = (codes, zero_row, tuple(rows_before for _ in self.gated))
        codes = ops.fori_loop(0, height, draw_row, start)[0]
        return ops.reshape(codes, (-1, height * width, levels))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "depth": self.depth,
            "kernel_size": self.kernel_size,
            "dropout": self.dropout,
        }


def _row(given: Tensor, row: Any) -> Tensor:
    """The row of what is given, which may be the same for all rows."""
    if given.shape[1] == 1:
        return given
    return ops.expand_dims(ops.take(given, row, axis=1), axis=1)
