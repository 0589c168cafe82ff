"""Layers as fixed functions, in the middle of a step that trains them."""

import keras
from keras import ops

from keras_vq._types import Tensor


def frozen(
    layer: keras.Layer, replaced: tuple[keras.Variable, Tensor] | None = None
) -> keras.StatelessScope:
    """A scope in which a layer has no gradient to its weights, and keeps its state.

    Gradients to its inputs pass.

    Args:
        layer: The layer.
        replaced: One of its weights, and a tensor to take instead; or None.
    """
    values = [
        (variable, ops.stop_gradient(ops.convert_to_tensor(variable)))
        for variable in layer.variables
    ]
    return keras.StatelessScope(values if replaced is None else [*values, replaced])
