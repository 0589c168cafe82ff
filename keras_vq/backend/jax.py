"""Functions with an implementation for JAX."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import keras
from keras import ops

from keras_vq._types import Search, Tensor
from keras_vq.backend import _private
from keras_vq.backend._common import SearchBlocks, fused_search_blocks, search_rows

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

NAME = "jax"


# --- replicas


def num_replicas() -> int:
    """Returns 1, because distributed arrays are global: a step processes the global batch."""
    return 1


def loss_divisor() -> int:
    """Returns 1, because gradients are those of the global batch."""
    return 1


def replica_index() -> Any:
    """Returns the index of this replica, which is 0."""
    return 0


def all_reduce_sum(tensors: list[Tensor]) -> list[Tensor]:
    """Returns the tensors, because there is one replica."""
    return tensors


def all_gather(tensor: Tensor) -> Tensor:
    """Adds a first axis for the replicas, of length 1."""
    return tensor[None]


def broadcast_first_replica(tensor: Tensor) -> Tensor:
    """Returns the tensor, because there is one replica."""
    return tensor


def isolate_losses(layer: keras.Layer) -> None:
    """Excludes the losses of a layer from its copies."""
    _private.set_layer_losses(layer)


# --- training loops and state


def strategy_without_autotune(strategy: Any) -> Any:
    """Returns the argument: training loops of JAX use no `tf.distribute.Strategy`."""
    return strategy


@contextlib.contextmanager
def preserve_weights(model: keras.Model) -> Iterator[None]:
    """Restores the weights of a model if an error or an interrupt ends a loop of steps.

    Keras moves all values out of the model while it runs steps, and moves them back only at the end
    of the loop. This context manager restores the values after the last completed step.
    """
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *model.metrics_variables]
    variables += optimizer.variables if optimizer is not None else []
    # References, not copies, so that donated buffers are still freed.
    values = _private.attached_values(variables)
    try:
        yield
    except BaseException:
        _private.attach_values(model, variables, values)
        raise


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
    value = variable.value
    return value if isinstance(value, jax.core.Tracer) else None


def has_detached_value(variable: Any) -> bool:
    """Returns whether Keras is running steps, and holds the value outside the variable."""
    return _private.has_detached_value(variable)


def build_optimizer(model: keras.Model) -> None:
    """Does nothing, because the training loop of Keras builds the optimizer before tracing."""
    del model


def predict_on_batch(model: keras.Model, inputs: Any) -> Any:
    """Applies a built model to one batch in a compiled function, and returns NumPy arrays.

    Keras's `predict_on_batch` donates the weights to the compiled function, so that an error or a
    KeyboardInterrupt would lose them. This function does not donate them.

    Args:
        model: Keras model. A call must not change its state.
        inputs: Nested arrays.
    """
    if not hasattr(model, "_compiled_for_batches"):
        model._compiled_for_batches = jax.jit(
            lambda trainable, others, inputs: model.stateless_call(trainable, others, inputs)[0]
        )
    weights = [
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    outputs = model._compiled_for_batches(*weights, inputs)
    return keras.tree.map_structure(ops.convert_to_numpy, outputs)


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
    """Runs a training step, and reverts its changes to some variables if loss scaling skips it.

    A `LossScaleOptimizer` skips a step whose gradients are not finite, and halves its scale.

    Args:
        step: Callable. Training step of the Keras model.
        state_and_data: Sequence of the arguments of the step: `(state, data)`.
        model: Keras model compiled with a `LossScaleOptimizer`.
        variables: List of non-trainable variables that a skipped step must not change.

    Returns:
        The result of the step.
    """
    optimizer: Any = model.optimizer
    state, _ = state_and_data
    logs, (trainable, others, of_optimizer, metrics) = step(*state_and_data)
    place = next(
        place for place, own in enumerate(optimizer.variables) if own is optimizer.dynamic_scale
    )
    is_skipped = of_optimizer[place] < state[2][place]
    ids = {id(variable) for variable in variables}
    triples = zip(model.non_trainable_variables, state[1], others, strict=True)
    others = [
        ops.where(is_skipped, before, after) if id(variable) in ids else after
        for variable, before, after in triples
    ]
    return logs, (trainable, others, of_optimizer, metrics)


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
    scalars, pull_back = jax.vjp(lambda tensor: list(function(tensor)), at)
    found = [
        pull_back([ops.cast(place == other, one.dtype) for other, one in enumerate(scalars)])[0]
        for place in range(len(scalars))
    ]
    return [ops.stop_gradient(gradient) for gradient in found]


# --- operations


def segment_sum(values: Tensor, segments: Tensor, count: int) -> Tensor:
    """Sums the values of each segment, as `keras.ops.segment_sum` does."""
    return ops.segment_sum(values, segments, num_segments=count)


def take_per_row(values: Tensor, indices: Tensor) -> Tensor:
    """Selects one column of each matrix: `(n, rows, width)`, `(n,)` -> `(n, rows)`."""
    return ops.take_along_axis(values, indices[:, None, None], axis=2)[..., 0]


def argmax_and_max(values: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the argmax and the maximum of each row: `(n, width)` -> int32 `(n,)`, `(n,)`.

    The lowest index wins a tie. Not for exported graphs: see `ops.argmax`.
    """
    return ops.cast(ops.argmax(values, axis=-1), "int32"), ops.amax(values, axis=-1)


def buffered_matmul() -> Callable[[Tensor, Tensor], Tensor]:
    """Returns a matmul for a loop: `keras.ops.matmul`, because XLA plans memory."""
    return ops.matmul


def optimization_barrier(tensor: Tensor) -> Tensor:
    """Applies an optimization barrier, so that XLA does not recompute the tensor for each use."""
    return jax.lax.optimization_barrier(tensor)


def has_operator_fusion() -> bool:
    """Returns whether XLA compiles the code that is traced now, and fuses its operations."""
    return True


def search_blocks(shape: Sequence[int | None]) -> SearchBlocks:
    """Returns the block sizes that `python -m benchmarks parts sizes` found fastest on CPUs.

    Args:
        shape: Sequence of integers or `None` (unknown): shape of the vectors without the last axis,
            then the number of codes.
    """
    return fused_search_blocks(shape)


def with_fused_search(by_blocks: Search) -> Search:
    """Returns a search that may use a fused Pallas kernel on NVIDIA GPUs.

    The kernels have not been timed on a GPU yet, so that they are off by default. The environment
    variable KERAS_VQ_FUSED_SEARCH=1, set before the import, turns them on: the faster search is
    then determined once per size (`fused_search.choice`), and a kernel that fails or finds other
    codes is not used, which is logged by the logger `keras_vq`.

    Args:
        by_blocks: Callable that maps vectors `(..., dim)` and code vectors to int32 codes `(...)`.
    """
    if os.environ.get("KERAS_VQ_FUSED_SEARCH") != "1":
        return by_blocks

    def search(vectors: Tensor, codes: Tensor) -> Tensor:
        # XLA cannot partition a kernel across devices.
        is_divided = keras.distribution.distribution() is not None
        if jax.default_backend() != "gpu" or is_divided or None in vectors.shape:
            return by_blocks(vectors, codes)
        try:
            from keras_vq.backend.fused_search import by_pallas  # slow, 0.3 s
        except ImportError:  # `jax.experimental` may change
            return by_blocks
        fused_or_blocks = functools.partial(search_rows, by_pallas.or_blocks(by_blocks))
        vectors, codes = jax.lax.stop_gradient((vectors, codes))
        # The program may be compiled for a device other than the default one.
        return jax.lax.platform_dependent(vectors, codes, cuda=fused_or_blocks, default=by_blocks)

    return search


def has_slow_conv_transpose_gradients() -> bool:
    """Returns whether gradients of transposed convolutions are slow compared to convolutions.

    XLA has no fast implementation of them on CPUs.
    """
    return jax.default_backend() == "cpu"


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
    """Returns whether this backend exports SavedModels with native TensorFlow operations.

    JAX exports a single operation that neither LiteRT nor OpenVINO supports.
    """
    return False


def onnx_converter() -> tuple[str, str]:
    """Returns the package that exports ONNX from this backend, and the extra that installs it."""
    return "jax2onnx", "onnx-jax"


@contextlib.contextmanager
def ignore_tracer_warnings() -> Iterator[None]:
    """Does nothing, because only PyTorch's tracer warns about tensor sizes."""
    yield
