"""What quantizers of single numbers share: each dimension has its own list of values."""

import math
from typing import Any

import numpy as np
from keras import ops

from keras_vq._types import Shape, Tensor
from keras_vq.estimators import Estimator
from keras_vq.quantizers.base import Quantizer

# Indices are int32.
_MOST_CODES = 2**31 - 1

# Finer levels than float32 tells apart near 1.
_MOST_LEVELS = 2**16


class LevelQuantizer(Quantizer):
    """Abstract quantizer of single numbers: each dimension has its own list of values.

    Dimension i has L_i values; a vector's index is Σ_i j_i ∏_{j<i} L_j, the first dimension
    changing fastest. A subclass says which number j_i each takes (`find_levels`) and what the
    values are (`values_of_levels`).

    Args:
        levels: Number of values of each dimension, a list of whole numbers of at least 2.
        estimator: How gradients pass to the latents; see `Quantizer`.
        **kwargs: `return_codes` and `keras.layers.Layer` arguments; see `Quantizer`.

    Raises:
        ValueError: If the levels are out of range, or inputs have another dimension.
    """

    def __init__(
        self, levels: Any, estimator: str | Estimator = "straight_through", **kwargs: Any
    ) -> None:
        super().__init__(estimator, **kwargs)
        self.levels = checked_levels(levels)
        self._sizes = np.array(self.levels, "int32")
        self._basis = np.array([math.prod(self.levels[:i]) for i in range(len(levels))], "int32")
        # Where the values of each dimension start when all stand in one row.
        self._starts = np.array([sum(self.levels[:i]) for i in range(len(levels))], "int32")

    def build(self, input_shape: Shape) -> None:
        """Checks that vectors have as many dimensions as there are levels."""
        super().build(input_shape)
        if self.dim != len(self.levels):
            raise ValueError(
                f"{type(self).__name__} quantizes vectors of as many dimensions as it has levels, "
                f"{len(self.levels)}; for others wrap it in keras_vq.Projected. "
                f"Received: inputs of shape {tuple(input_shape)}"
            )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """The number of codes: the product of the levels."""
        return (math.prod(self.levels),)

    def find_levels(self, latents: Tensor) -> Tensor:
        """Which of its values each number takes: int32, of the latents' shape."""
        raise NotImplementedError

    def values_of_levels(self) -> Tensor:
        """The values of all dimensions in one row, float32 `(sum of levels,)`."""
        raise NotImplementedError

    def find_indices(self, latents: Tensor, training: bool = False) -> Tensor:
        """The indices of the vectors of nearest values."""
        del training
        return ops.sum(ops.multiply(self.find_levels(latents), self._basis), axis=-1)

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes of indices."""
        # From a row of values, not by arithmetic, which a compiler may round otherwise.
        quotients = ops.floor_divide(ops.expand_dims(indices, -1), self._basis)
        # Subtracted, because Keras adds a vector by an operation that LiteRT has for floats only.
        places = ops.subtract(ops.mod(quotients, self._sizes), -self._starts)
        # As a column, because converters know no look-up of single numbers by a grid of places.
        return ops.take(self.values_of_levels()[:, None], places, axis=0)[..., 0]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "levels": list(self.levels)}


def checked_levels(levels: Any) -> list[int]:
    """The levels as a list of ints.

    Raises:
        ValueError: If they are no list of whole numbers from 2 to 65,536, or make too many codes.
    """
    is_list = isinstance(levels, list | tuple) and len(levels) > 0
    if not is_list or not all(_is_level(level) for level in levels):
        raise ValueError(
            "`levels` must be a list of whole numbers from 2 to 65,536, one a dimension. "
            f"Received: {levels!r}"
        )
    levels = [int(level) for level in levels]
    if math.prod(levels) > _MOST_CODES:
        raise ValueError(
            f"The product of `levels` must be at most {_MOST_CODES:,}, or an index does not fit "
            "in an int32; for more codes split the vectors by keras_vq.Product. "
            f"Received: {levels}, of product {math.prod(levels):,}"
        )
    return levels


def _is_level(level: Any) -> bool:
    is_whole = not isinstance(level, bool) and hasattr(level, "__index__")
    return is_whole and 2 <= level <= _MOST_LEVELS
