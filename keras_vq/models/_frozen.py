"""Layers frozen during part of a training step."""

import keras
from keras import ops

from keras_vq._types import Tensor


def frozen(
    layer: keras.Layer, replaced: tuple[keras.Variable, Tensor] | None = None
) -> keras.StatelessScope:
    """Returns a scope that freezes a layer.

    Within it, the weights of the layer receive no gradients and its state is not updated. Gradients
    with respect to its inputs are kept.

    Args:
        layer: The layer.
        replaced: Pair of a weight of the layer and the tensor that replaces it in the scope, or
            `None`. Defaults to `None`.
    """
    values = [
        (variable, ops.stop_gradient(ops.convert_to_tensor(variable)))
        for variable in layer.variables
    ]
    return keras.StatelessScope(values if replaced is None else [*values, replaced])
