"""Edge padding."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class EdgePadding(ConfigurableLayer):
    """Edge padding of sequences, images or volumes: repeats the border values.

    Zero padding would add artificial edges to the inputs. The layer consists of slices and
    concatenations, which every export format supports; `keras.ops.pad` has no edge mode on
    TensorFlow.

    Args:
        padding: Sequence of tuples (before, after) of integers of at least 0, one for each axis
            between batch and channels. Number of repeated values at each end.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor of shape `(batch, ..., channels)`.

    Returns:
        Tensor of the padded shape.

    Raises:
        ValueError: If `padding` is not a sequence of such tuples.

    Example:
        >>> import numpy as np, keras_vq
        >>> layer = keras_vq.layers.EdgePadding([(1, 2)])
        >>> [float(step) for step in layer(np.array([[[3.0], [4.0]]]))[0, :, 0]]
        [3.0, 3.0, 4.0, 4.0, 4.0]
    """

    def __init__(self, padding: Sequence[tuple[int, int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        try:
            self.padding = tuple((int(before), int(after)) for before, after in padding)
        except (TypeError, ValueError):
            self.padding = ()
        if not self.padding or min(min(pair) for pair in self.padding) < 0:
            raise ValueError(
                "`padding` must be a list of pairs (before, after) of non-negative integers, one "
                f"per axis. Received: {padding!r}"
            )

    def call(self, inputs: Tensor) -> Tensor:
        """Pads a batch."""
        for axis, (before, after) in enumerate(self.padding, start=1):
            above = (slice(None),) * axis
            first, last = inputs[(*above, slice(0, 1))], inputs[(*above, slice(-1, None))]
            parts = [first] * before + [inputs] + [last] * after
            inputs = ops.concatenate(parts, axis=axis) if len(parts) > 1 else inputs
        return inputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the padded shape."""
        batch, *sizes, channels = input_shape
        padded = (
            None if size is None else size + sum(pair)
            for size, pair in zip(sizes, self.padding, strict=True)
        )
        return (batch, *padded, channels)
