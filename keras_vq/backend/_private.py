"""Private names of Keras and TensorFlow, each with the reason and a fallback.

No other module of the package uses private names of a library.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from keras_vq._types import Tensor


def nested_layers(layer: keras.Layer) -> list[keras.Layer]:
    """Returns a layer and all its nested layers, depth-first and without duplicates."""
    found: dict[int, keras.Layer] = {}
    _collect(layer, found)
    return list(found.values())


def _collect(layer: keras.Layer, found: dict[int, keras.Layer]) -> None:
    if id(layer) not in found:
        found[id(layer)] = layer
        for child in _children(layer):
            _collect(child, found)


def _children(layer: keras.Layer) -> list[keras.Layer]:
    # No public API in Keras 3.15: only models have a property `layers`.
    children = getattr(layer, "_layers", None)
    if children is not None:
        return list(children)
    attributes = [value for name, value in vars(layer).items() if not name.startswith("_")]
    values = keras.tree.flatten([getattr(layer, "layers", []), attributes])
    return [value for value in values if isinstance(value, keras.Layer)]


def compiled_loss(
    model: keras.Model, target: Tensor, prediction: Tensor, sample_weight: Tensor | None
) -> Tensor:
    """Computes the loss of `model.compile(loss=...)`, without the losses that layers add."""
    # No public API in Keras 3.15: `Model.compute_loss` adds the losses of layers.
    loss = getattr(model, "_compile_loss", None)
    if loss is None:
        loss = keras.losses.get(model.loss)
        if not isinstance(loss, keras.losses.Loss):
            loss = _FunctionLoss(loss)
    return loss(target, prediction, sample_weight)


class _FunctionLoss(keras.losses.Loss):
    """Loss object of a function that returns one value per row."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Applies the function."""
        return self.function(y_true, y_pred)


def _one_replica() -> int:
    return 1


def set_layer_losses(layer: keras.Layer, num_replicas: Callable[[], int] = _one_replica) -> None:
    """Replaces the list in which a layer stores the losses of `add_loss`; see `LayerLosses`.

    Args:
        layer: Keras layer.
        num_replicas: Callable. Returns the number of replicas that this process traces in separate
            threads. Defaults to a function that returns 1.
    """
    # No public API in Keras 3.15: a layer has one list, which all replicas would share.
    if hasattr(layer, "_losses"):
        layer._losses = LayerLosses(num_replicas)


class LayerLosses:
    """Losses added by a layer, with a separate list for each replica of a TensorFlow strategy.

    A strategy traces replicas of the same layers in threads that alternate at each all-reduce. With
    one shared list, a replica would clear or return the losses of another. Copies have no losses.
    """

    def __init__(self, num_replicas: Callable[[], int]) -> None:
        self._num_replicas = num_replicas
        self._all: list[Tensor] = []
        self._local = threading.local()

    def _list(self) -> list[Tensor]:
        if self._num_replicas() == 1:
            return self._all
        if not hasattr(self._local, "losses"):
            self._local.losses = []
        return self._local.losses

    def extend(self, losses: Iterable[Tensor]) -> None:
        """Adds losses of this replica."""
        self._list().extend(losses)

    def clear(self) -> None:
        """Removes the losses of this replica."""
        self._list().clear()

    def __getitem__(self, place: slice) -> list[Tensor]:
        return self._list()[place]

    def __reduce__(self) -> Any:
        return LayerLosses, (self._num_replicas,)


_MISSING = object()


def has_detached_value(variable: Any) -> bool:
    """Returns whether Keras on JAX has moved the value of a variable to the state of a loop."""
    # No public API in Keras 3.15: `variable.value` raises an error in this case.
    return getattr(variable, "_value", _MISSING) is None


def attached_values(variables: Sequence[Any]) -> list[Any]:
    """Returns the JAX arrays of variables, and `None` for those with a detached value."""
    return [None if has_detached_value(variable) else variable.value for variable in variables]


def attach_values(model: keras.Model, variables: Sequence[Any], values: Sequence[Any]) -> None:
    """Moves the state of an interrupted loop on JAX back to the variables of a model.

    Args:
        model: Keras model.
        variables: Sequence of variables of the model, its metrics and its optimizer.
        values: Sequence of JAX arrays. Values for variables that are not part of the state.
    """
    # No public documentation in Keras 3.15: Keras calls it at the end of an epoch.
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
    for variable, value in zip(variables, values, strict=True):
        if has_detached_value(variable) and value is not None and not value.is_deleted():
            variable.assign(value)


def is_in_xla_context() -> bool:
    """Returns whether TensorFlow traces code that XLA will compile."""
    import tensorflow as tf

    try:
        # No public API in TensorFlow 2.21.
        from tensorflow.python.ops import control_flow_util
    except ImportError:
        return False
    return bool(control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def xla_optimization_barrier(tensor: Tensor) -> Tensor:
    """Applies XLA's optimization barrier on TensorFlow, within code that XLA compiles."""
    try:
        # No public API in TensorFlow 2.21: the operation is not in `tf.raw_ops`.
        from tensorflow.compiler.tf2xla.python import xla
    except ImportError:
        return tensor
    return xla.optimization_barrier(tensor)[0]
