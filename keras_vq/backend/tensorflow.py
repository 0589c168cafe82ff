"""Functions with an implementation for TensorFlow."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_vq._types import Search, Tensor
from keras_vq.backend import _private
from keras_vq.backend._common import (
    SearchBlocks,
    fused_search_blocks,
    step_with_rollback,
    without_autotune,
)

__all__ = [
    "NAME",
    "all_gather",
    "all_reduce_sum",
    "argmax_and_max",
    "assign_if",
    "broadcast_first_replica",
    "buffered_matmul",
    "build_optimizer",
    "conv_transpose_same",
    "crops_conv_transpose",
    "exports_native_saved_models",
    "gradients",
    "has_detached_value",
    "has_operator_fusion",
    "has_slow_conv_transpose_gradients",
    "ignore_tracer_warnings",
    "isolate_losses",
    "loss_divisor",
    "num_replicas",
    "onnx_converter",
    "optimization_barrier",
    "predict_on_batch",
    "preserve_weights",
    "replica_index",
    "search_blocks",
    "segment_sum",
    "step_variable",
    "strategy_without_autotune",
    "take_per_row",
    "traced_value",
    "train_step_with_rollback",
    "with_fused_search",
]

NAME = "tensorflow"


# --- replicas


def num_replicas() -> int:
    """Returns the number of replicas that share the global batch of the current step."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def loss_divisor() -> int:
    """Returns the number by which to divide the loss of one replica under data parallelism.

    It is the number of replicas, because strategies sum gradients over replicas.
    """
    return num_replicas()


def replica_index() -> Any:
    """Returns the index of this replica, from 0 to `num_replicas() - 1`."""
    if num_replicas() == 1:
        return 0
    return tf.distribute.get_replica_context().replica_id_in_sync_group


def all_reduce_sum(tensors: list[Tensor]) -> list[Tensor]:
    """Sums each tensor over the replicas of the current step (all-reduce)."""
    if num_replicas() == 1:
        return tensors
    context = tf.distribute.get_replica_context()
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, tensors))


def all_gather(tensor: Tensor) -> Tensor:
    """Stacks the values of all replicas along a new first axis, in replica order (all-gather)."""
    count = num_replicas()
    if count == 1:
        return tensor[None]
    place = ops.cast(ops.equal(ops.arange(count), replica_index()), tensor.dtype)
    place = ops.reshape(place, (count,) + (1,) * len(tensor.shape))
    (gathered,) = all_reduce_sum([place * tensor[None]])
    return gathered


def broadcast_first_replica(tensor: Tensor) -> Tensor:
    """Returns the first replica's value of a tensor on all replicas (broadcast)."""
    # There is no replica context in the cross-replica context of a strategy.
    if num_replicas() == 1 or tf.distribute.get_replica_context() is None:
        return tensor
    is_first = ops.equal(replica_index(), 0)
    (value,) = all_reduce_sum([ops.where(is_first, tensor, ops.zeros_like(tensor))])
    return value


def isolate_losses(layer: keras.Layer) -> None:
    """Stores the losses of a layer separately for each replica, and not in copies of the layer."""
    _private.set_layer_losses(layer, num_replicas)


# --- training loops and state


def strategy_without_autotune(strategy: Any) -> Any:
    """Wraps a `tf.distribute.Strategy`, to disable autotuning of the pipelines of training loops.

    Keras passes each pipeline to `experimental_distribute_dataset`, including those that it
    creates for arrays. See `without_autotune` for the delay that autotuning causes.
    """
    return _StrategyWithoutAutotune(strategy)


class _StrategyWithoutAutotune:
    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self._strategy = strategy

    @property  # type: ignore[misc]  # Keras recognizes strategies for TPUs by their class.
    def __class__(self) -> Any:
        return type(self._strategy)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strategy, name)

    def experimental_distribute_dataset(self, dataset: Any, options: Any = None) -> Any:
        dataset = without_autotune(dataset)
        return self._strategy.experimental_distribute_dataset(dataset, options)


@contextlib.contextmanager
def preserve_weights(model: keras.Model) -> Iterator[None]:
    """Does nothing, because the model holds its weights during a loop of steps."""
    del model
    yield


def step_variable(name: str, value: float) -> Any:
    """Creates a float32 variable for a number that compiled steps read."""
    return keras.Variable(
        keras.initializers.Constant(value),
        shape=(),
        dtype="float32",
        trainable=False,
        autocast=False,
        name=name,
    )


def traced_value(variable: Any) -> Tensor | None:
    """Returns a `step_variable` as a tensor while a step is traced, and `None` otherwise."""
    return None if tf.executing_eagerly() else ops.convert_to_tensor(variable)


def has_detached_value(variable: Any) -> bool:
    """Returns `False`: variables hold their values during a loop of steps."""
    del variable
    return False


def build_optimizer(model: keras.Model) -> None:
    """Builds the optimizer before a step is traced, if all layers of the model are built.

    TensorFlow traces a step twice if it creates variables.
    """
    optimizer = model.optimizer
    if optimizer is None or optimizer.built:
        return
    if all(layer.built for layer in _private.nested_layers(model)):
        with model.distribute_strategy.scope():
            optimizer.build(model.trainable_variables)


def predict_on_batch(model: keras.Model, inputs: Any) -> Any:
    """Applies a built model to one batch in a compiled function, and returns NumPy arrays.

    Args:
        model: Keras model. A call must not change its state.
        inputs: Nested arrays.
    """
    return model.predict_on_batch(inputs)


def assign_if(variables: Sequence[Any], values: Sequence[Tensor], condition: Tensor) -> None:
    """Assigns values to variables if a boolean scalar is true."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(ops.where(condition, value, ops.convert_to_tensor(variable)))


def train_step_with_rollback(
    step: Callable[..., Any],
    state_and_data: Sequence[Any],
    model: keras.Model,
    variables: list[Any],
) -> Any:
    """Runs a training step; see `_common.step_with_rollback`."""
    return step_with_rollback(step, state_and_data, model, variables, assign_if)


def gradients(function: Callable[[Tensor], Sequence[Tensor]], at: Tensor) -> list[Tensor]:
    """Computes gradients of several scalars with respect to one tensor, within a training step.

    Args:
        function: Callable that maps a tensor to the scalars. They should depend on no other tensor
            with a gradient.
        at: Tensor. Value at which the gradients are computed.

    Returns:
        List of gradients, one per scalar, which are not differentiable.
    """
    at = ops.stop_gradient(ops.convert_to_tensor(at))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(at)
        scalars = function(at)
    found = [tape.gradient(scalar, at, unconnected_gradients="zero") for scalar in scalars]
    return [ops.stop_gradient(gradient) for gradient in found]


# --- operations


def segment_sum(values: Tensor, segments: Tensor, count: int) -> Tensor:
    """Sums the values of each segment, as `keras.ops.segment_sum` does."""
    return ops.segment_sum(values, segments, num_segments=count)


def take_per_row(values: Tensor, indices: Tensor) -> Tensor:
    """Selects one column of each matrix: `(n, rows, width)`, `(n,)` -> `(n, rows)`.

    Keras's `take_along_axis` would take half as long as a nearest-code search.
    """
    return tf.gather(values, indices, axis=2, batch_dims=1)


def argmax_and_max(values: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the argmax and the maximum of each row: `(n, width)` -> int32 `(n,)`, `(n,)`.

    The lowest index wins a tie. Not for exported graphs: see `ops.argmax`.
    """
    # `keras.ops.argmax` first orders -0.0 below 0.0, with operations on all numbers.
    return tf.argmax(values, axis=-1, output_type=tf.int32), ops.amax(values, axis=-1)


def buffered_matmul() -> Callable[[Tensor, Tensor], Tensor]:
    """Returns a matmul for a loop: `keras.ops.matmul`, because TensorFlow reuses memory."""
    return ops.matmul


def optimization_barrier(tensor: Tensor) -> Tensor:
    """Applies an optimization barrier, so that XLA does not recompute the tensor for each use."""
    return _private.xla_optimization_barrier(tensor) if has_operator_fusion() else tensor


def has_operator_fusion() -> bool:
    """Returns whether XLA compiles the code that is traced now, and fuses its operations."""
    return _private.is_in_xla_context()


def search_blocks(shape: Sequence[int | None]) -> SearchBlocks:
    """Returns the block sizes that `python -m benchmarks parts sizes` found fastest on CPUs.

    Loops of TensorFlow without XLA have an overhead per block.

    Args:
        shape: Sequence of integers or `None` (unknown): shape of the vectors without the last axis,
            then the number of codes.
    """
    return fused_search_blocks(shape) if has_operator_fusion() else SearchBlocks(8192, 2**18)


def with_fused_search(by_blocks: Search) -> Search:
    """Returns the given search, because there is no fused kernel for TensorFlow."""
    return by_blocks


def has_slow_conv_transpose_gradients() -> bool:
    """Returns whether gradients of transposed convolutions are slow compared to convolutions."""
    return False


def crops_conv_transpose() -> bool:
    """Returns whether Keras crops transposed convolutions for padding "same"."""
    return False


def conv_transpose_same(
    inputs: Tensor, kernel: Tensor, bias: Tensor | None, strides: tuple[int, int]
) -> Tensor:
    """Computes a transposed convolution with the padding "same" of Keras.

    Args:
        inputs: Tensor of shape `(batch, height, width, channels)`.
        kernel: Tensor of shape `(kernel_height, kernel_width, filters, channels)`, no smaller than
            the strides.
        bias: Tensor of shape `(filters,)`, or `None`.
        strides: Tuple of 2 integers. Strides along height and width.

    Returns:
        Tensor of shape `(batch, height * strides[0], width * strides[1], filters)`.
    """
    outputs = ops.conv_transpose(inputs, kernel, strides, "same", data_format="channels_last")
    return outputs if bias is None else outputs + bias


# --- export


def exports_native_saved_models() -> bool:
    """Returns whether this backend exports SavedModels with native TensorFlow operations."""
    return True


def onnx_converter() -> tuple[str, str]:
    """Returns the package that exports ONNX from this backend, and the extra that installs it."""
    return "tf2onnx", "onnx"


@contextlib.contextmanager
def ignore_tracer_warnings() -> Iterator[None]:
    """Does nothing, because only PyTorch's tracer warns about tensor sizes."""
    yield
