"""Learned positional embeddings of a grid."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class GridPositions(ConfigurableLayer):
    """Learned positional embeddings of a grid: the sum of one trainable vector per coordinate.

    An 8 x 8 grid has 16 vectors instead of 64, and all positions of a row share the vector of the
    row.

    Args:
        grid_shape: Sequence of integers. Shape of the grid, with any number of axes.
        dim: Integer. Dimension of the vectors. None uses that of the inputs. Defaults to None.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, N, dim)`, with the N positions in row-major order.

    Returns:
        The inputs plus the positional embeddings.

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
        """Computes the positional embeddings of all positions. Shape `(N, dim)`."""
        total = 0.0
        for axis, of_axis in enumerate(self.axes):
            ones = [1] * len(self.grid_shape)
            ones[axis] = self.grid_shape[axis]
            total = total + ops.reshape(ops.convert_to_tensor(of_axis), (*ones, -1))
        total = ops.broadcast_to(total, (*self.grid_shape, self.axes[0].shape[-1]))
        return ops.reshape(total, (math.prod(self.grid_shape), -1))

    def call(self, inputs: Tensor) -> Tensor:
        """Adds the positional embeddings to the inputs."""
        return inputs + ops.cast(self.vectors(), inputs.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input shape."""
        return input_shape
