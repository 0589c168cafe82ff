"""Gated PixelCNN prior over codes."""

from typing import Any

import keras
from keras import layers, ops

from keras_vq import _validation
from keras_vq._types import Tensor
from keras_vq.layers.gated_masked_convolution import GatedMaskedConvolution, with_zeros
from keras_vq.priors._codes import as_plane
from keras_vq.priors.autoregressive import AutoregressivePrior, State


@keras.saving.register_keras_serializable("keras_vq")
class PixelCNNPrior(AutoregressivePrior):
    """Gated PixelCNN over the positions of a code grid, in row-major order.

    A grid with more than two axes is reshaped to two by merging all but the last axis; a grid with
    one axis is a single row. Sampling uses a cache: each row of the vertical stack and each
    position of the horizontal stack is computed once, from a few preceding ones. Source: van den
    Oord et al., "Conditional Image Generation with PixelCNN Decoders", 2016.

    Args:
        codebook_size: Integer, or list of integers. Codebook size or sizes; see `CodePrior`.
        grid_shape: Tuple of integers. Shape of the code grid.
        num_classes: Integer. Number of classes for class conditioning. None disables it.
            Defaults to None.
        hidden_dim: Integer. Channels of the layers. Defaults to 96.
        num_layers: Integer. Number of gated layers. Defaults to 5.
        kernel_size: Odd integer. Kernel size of the gated layers. Defaults to 3.
        dropout: Float in [0, 1). Dropout rate between layers. Defaults to 0.1.
        **kwargs: Other arguments of `CodePrior`.

    Example:
        >>> import numpy as np, keras_vq
        >>> codes = np.random.default_rng(0).integers(0, 16, (64, 2, 2))
        >>> prior = keras_vq.priors.PixelCNNPrior(16, (2, 2), hidden_dim=8, num_layers=2)
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
        hidden_dim: int = 96,
        num_layers: int = 5,
        kernel_size: int = 3,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(codebook_size, grid_shape, num_classes, hidden_dim=hidden_dim, **kwargs)
        self.num_layers = _validation.check_positive_integer("num_layers", num_layers)
        self.kernel_size = kernel_size
        self.dropout = _validation.check_fraction("dropout", dropout)
        self.build()

    def _build_network(self) -> None:
        """Creates the layers."""
        super()._build_network()
        policy, steps = self.dtype_policy, range(self.num_layers)
        self.plane = as_plane(self.grid_shape)
        self.gated = [
            GatedMaskedConvolution(self.hidden_dim, self.kernel_size, dtype=policy) for _ in steps
        ]
        for part in self.gated:
            part.build((None, *self.plane, self.hidden_dim))
        self.drop = layers.Dropout(self.dropout, seed=self.seed, dtype=policy)
        self.given_to: list[Any] = []
        if self.num_classes is not None or self.condition_shape is not None:
            # One projection per layer, for the gates of both stacks.
            self.given_to = [layers.Dense(4 * self.hidden_dim, dtype=policy) for _ in steps]
            for part in self.given_to:
                part.build((None, None, None, self.hidden_dim))

    def _contexts(self, codes: Tensor, given: Tensor | None, training: bool) -> Tensor:
        """Computes the output of the horizontal stack at all positions."""
        height, width = self.plane
        embedded = ops.reshape(self.embedding(codes), (-1, height, width, self.hidden_dim))
        # Shift the inputs by one, so that a position does not depend on its own codes.
        vertical = with_zeros(embedded, axis=1, before=1)[:, :-1]
        horizontal = with_zeros(embedded, axis=2, before=1)[:, :, :-1]
        for layer, condition in zip(self.gated, self._conditions(given), strict=True):
            vertical, horizontal = layer(vertical, horizontal, condition)
            horizontal = self.drop(horizontal, training=training)
        return ops.reshape(horizontal, (-1, height * width, self.hidden_dim))

    def _conditions(self, given: Tensor | None) -> list[Any]:
        """Returns the conditioning of each layer: a pair (vertical, horizontal), or None."""
        if given is None:
            return [None] * self.num_layers
        return [ops.split(dense(given), 2, axis=-1) for dense in self.given_to]

    def _first_state(self, like: Tensor, given: Tensor | None) -> State:
        """Returns the state before the first position: caches of zeros, and the conditioning."""
        height, width = self.plane
        conditions = tuple(() if part is None else tuple(part) for part in self._conditions(given))
        grid = ops.reshape(
            ops.zeros_like(self.embedding(like)), (-1, height, width, self.hidden_dim)
        )
        row, reach = grid[:, :1], self.gated[0].reach
        rows_before = ops.concatenate([row] * max(reach, 1), axis=1)[:, :reach]
        columns_before = ops.concatenate([row[:, :, :1]] * max(reach, 1), axis=2)[:, :, :reach]
        from_above = ops.stack([ops.concatenate([row, row], axis=-1)] * self.num_layers, axis=1)
        caches = (tuple(rows_before for _ in self.gated), tuple(columns_before for _ in self.gated))
        return row, from_above, *caches, conditions

    def _step(self, position: Any, before: Tensor, state: State) -> tuple[Tensor, State]:
        """Computes the horizontal stack at a position, after the vertical stack if a row starts."""
        row_so_far, from_above, rows_before, columns_before, conditions = state
        width = self.plane[1]
        row, column = position // width, position % width
        embedded = self.embedding(before)[:, None, None]
        embedded = ops.where(ops.equal(position, 0), 0.0, embedded)
        is_before = ops.equal(ops.arange(width), (position - 1) % width)
        row_so_far = ops.where(ops.reshape(is_before, (1, 1, -1, 1)), embedded, row_so_far)

        def next_row() -> tuple[Tensor, tuple[Tensor, ...]]:
            return self._step_row(row, row_so_far, rows_before, conditions)

        is_first = ops.equal(column, 0)
        from_above, rows_before = ops.cond(is_first, next_row, lambda: (from_above, rows_before))
        # `from_above` stacks all layers, so that one slice serves the position.
        here = ops.expand_dims(ops.take(from_above, column, axis=3), axis=3)
        x, new_columns = ops.where(is_first, 0.0, embedded), []
        for index, (layer, seen) in enumerate(zip(self.gated, columns_before, strict=True)):
            x, seen = layer.step_column(x, ops.where(is_first, 0.0, seen), here[:, index])
            new_columns.append(seen)
        kept = (row_so_far, from_above, rows_before, tuple(new_columns), conditions)
        return x[:, 0, 0], kept

    def _step_row(
        self, row: Any, before: Tensor, rows_before: State, conditions: State
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Computes the vertical stack of all layers for one row.

        Returns:
            Tuple of the inputs of the horizontal stack from above, a tensor of shape
            `(batch, layers, 1, width, 2 dim)`, and the new row cache of each layer.
        """
        x, from_above, new_rows = before, [], []
        for layer, seen, given in zip(self.gated, rows_before, conditions, strict=True):
            for_vertical, for_horizontal = [_row(part, row) for part in given] or (0.0, 0.0)
            x, above, seen = layer.step_row(x, seen, for_vertical)
            from_above.append(above + for_horizontal)
            new_rows.append(seen)
        return ops.stack(from_above, axis=1), tuple(new_rows)


def _row(given: Tensor, row: Any) -> Tensor:
    """Returns one row of the conditioning; a conditioning of height 1 applies to every row."""
    if given.shape[1] == 1:
        return given
    return ops.expand_dims(ops.take(given, row, axis=1), axis=1)
