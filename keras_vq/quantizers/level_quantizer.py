"""Base class of scalar quantizers, where each dimension has its own list of values."""

import math
from typing import Any

import numpy as np
from keras import ops

from keras_vq._types import Shape, Tensor
from keras_vq.estimators import Estimator
from keras_vq.quantizers.base import Quantizer

# Codes are int32.
_MOST_CODES = 2**31 - 1

# Adjacent levels near 1 must differ in float32.
_MOST_LEVELS = 2**16


class LevelQuantizer(Quantizer):
    """Base class of scalar quantizers, where each dimension has its own list of values.

    Dimension i has L_i values, and a component with the value number j_i contributes to the code
    of the vector, Σ_i j_i ∏_{m<i} L_m, in which the first dimension changes fastest. A subclass
    implements `_find_levels`, which returns the j_i, and `_level_values`.

    Args:
        levels: List of integers, at least 2. Number of values of each dimension.
        estimator: Gradient estimator; see `Quantizer`. Defaults to `"straight_through"`.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Raises:
        ValueError: If `levels` is out of range, or the last dimension of the inputs is not the
            number of entries in `levels`.
    """

    def __init__(
        self, levels: Any, estimator: str | Estimator = "straight_through", **kwargs: Any
    ) -> None:
        super().__init__(estimator, **kwargs)
        self.levels = checked_levels(levels)
        self._sizes = np.array(self.levels, "int32")
        self._basis = np.array([math.prod(self.levels[:i]) for i in range(len(levels))], "int32")
        # Offset of each dimension in the concatenated values.
        self._starts = np.array([sum(self.levels[:i]) for i in range(len(levels))], "int32")

    def build(self, input_shape: Shape) -> None:
        """Checks that the last dimension of the inputs is the number of entries in `levels`."""
        super().build(input_shape)
        if self.dim != len(self.levels):
            raise ValueError(
                f"The inputs of {type(self).__name__} must have one dimension per entry of "
                f"`levels`, {len(self.levels)}. For other dimensions, wrap it in "
                "keras_vq.ProjectedQuantizer. "
                f"Received: inputs of shape {tuple(input_shape)}"
            )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Product of `levels`, as a tuple with one entry."""
        return (math.prod(self.levels),)

    def _find_levels(self, latents: Tensor) -> Tensor:
        """Returns the number of the value of each component, int32, in the shape of the latents."""
        raise NotImplementedError

    def _level_values(self) -> Tensor:
        """Returns the values of all dimensions, concatenated, float32 `(sum of levels,)`."""
        raise NotImplementedError

    def _search_codes(self, latents: Tensor, training: bool = False) -> Tensor:
        """Computes the codes from the value numbers of all components."""
        del training
        return ops.sum(ops.multiply(self._find_levels(latents), self._basis), axis=-1)

    def _lookup(self, codes: Tensor) -> Tensor:
        """Looks up the code vectors of codes."""
        # A table lookup, because a compiler may round the arithmetic differently.
        quotients = ops.floor_divide(ops.expand_dims(codes, -1), self._basis)
        # `subtract`, because Keras adds a vector with an operation that LiteRT has for floats only.
        places = ops.subtract(ops.mod(quotients, self._sizes), -self._starts)
        # A column, because converters do not support the lookup of scalars by a grid of codes.
        return ops.take(self._level_values()[:, None], places, axis=0)[..., 0]


def checked_levels(levels: Any) -> list[int]:
    """Validates `levels` and returns them as a list of integers.

    Raises:
        ValueError: If `levels` is not a list of integers from 2 to 65,536, or their product does
            not fit into an int32.
    """
    is_list = isinstance(levels, list | tuple) and len(levels) > 0
    if not is_list or not all(_is_level(level) for level in levels):
        raise ValueError(
            "`levels` must be a list of integers from 2 to 65,536, one per dimension. "
            f"Received: {levels!r}"
        )
    levels = [int(level) for level in levels]
    if math.prod(levels) > _MOST_CODES:
        raise ValueError(
            f"The product of `levels` must be at most {_MOST_CODES:,}, the largest number of int32 "
            "codes. For more codes, split the vectors with keras_vq.ProductQuantizer. "
            f"Received: {levels} with product {math.prod(levels):,}"
        )
    return levels


def _is_level(level: Any) -> bool:
    is_whole = not isinstance(level, bool) and hasattr(level, "__index__")
    return is_whole and 2 <= level <= _MOST_LEVELS
