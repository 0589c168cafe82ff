"""Learned vectors of the places of a grid."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class GridPositions(ConfigurableLayer):
    """A learned vector for each place of a grid: the sum of one for each of its coordinates.

    A grid of 8 x 8 has 16 vectors to learn, not 64, and a row knows that it is one.

    State that changes in training: the vectors, by gradient.

    Args:
        grid_shape: Shape of the grid, of any number of axes.
        dim: Dimension of the vectors; None takes that of the inputs.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, N, dim)`, the N places in row-major order.

    Returns:
        The inputs plus the vectors of their places.

    Example:
        >>> import numpy as np, keras_vq
        >>> positions = keras_vq.layers.GridPositions((2, 3), dim=4)
        >>> tuple(positions(np.zeros((1, 6, 4), "float32")).shape)
        (1, 6, 4)
    """

    def __init__(self, grid_shape: Sequence[int], dim: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid_shape = tuple(
            _validation.check_positive_integer("grid_shape[...]", size) for size in grid_shape
        )
        self.dim = None if dim is None else _validation.check_positive_integer("dim", dim)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        """Creates the vectors of each axis."""
        start = keras.initializers.RandomNormal(stddev=0.02)
        width = self.dim or input_shape[-1]
        self.axes = [
            self.add_weight(name=f"axis_{axis}", shape=(size, width), initializer=start)
            for axis, size in enumerate(self.grid_shape)
        ]

    def vectors(self) -> Tensor:
        """The vectors of all places, `(N, dim)`."""
        total = 0.0
        for axis, of_axis in enumerate(self.axes):
            ones = [1] * len(self.grid_shape)
            ones[axis] = self.grid_shape[axis]
            total = total + ops.reshape(ops.convert_to_tensor(of_axis), (*ones, -1))
        total = ops.broadcast_to(total, (*self.grid_shape, self.axes[0].shape[-1]))
        return ops.reshape(total, (math.prod(self.grid_shape), -1))

    def call(self, inputs: Tensor) -> Tensor:
        """Adds the vectors."""
        return inputs + ops.cast(self.vectors(), inputs.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The inputs' shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "grid_shape": self.grid_shape, "dim": self.dim}
