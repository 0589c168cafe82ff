"""Functions with an implementation for PyTorch."""

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import torch
import torch.distributed as dist
from keras import ops

from keras_vq._types import Search, Tensor
from keras_vq.backend import _private
from keras_vq.backend._common import SearchBlocks, search_rows, step_with_rollback

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

NAME = "torch"


# --- replicas


def num_replicas() -> int:
    """Returns the number of processes that share the global batch of the current step."""
    return int(dist.get_world_size()) if dist.is_available() and dist.is_initialized() else 1


def loss_divisor() -> int:
    """Returns 1, because DistributedDataParallel averages gradients over replicas."""
    return 1


def replica_index() -> Any:
    """Returns the index of this replica, from 0 to `num_replicas() - 1`."""
    return 0 if num_replicas() == 1 else dist.get_rank()


def all_reduce_sum(tensors: list[Tensor]) -> list[Tensor]:
    """Sums each tensor over the replicas of the current step (all-reduce)."""
    if num_replicas() == 1:
        return tensors
    summed = [tensor.clone() for tensor in tensors]
    for tensor in summed:
        dist.all_reduce(tensor)
    return summed


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
    if num_replicas() == 1:
        return tensor
    is_first = ops.equal(replica_index(), 0)
    (value,) = all_reduce_sum([ops.where(is_first, tensor, ops.zeros_like(tensor))])
    return value


def isolate_losses(layer: keras.Layer) -> None:
    """Excludes the losses of a layer from its copies, because tensors with a graph can't be copied.

    There is one replica per process.
    """
    _private.set_layer_losses(layer)


# --- training loops and state


def strategy_without_autotune(strategy: Any) -> Any:
    """Returns the argument: training loops of PyTorch use no `tf.distribute.Strategy`."""
    return strategy


@contextlib.contextmanager
def preserve_weights(model: keras.Model) -> Iterator[None]:
    """Does nothing, because the model holds its weights during a loop of steps."""
    del model
    yield


def step_variable(name: str, value: float) -> Any:
    """Returns `None`: steps run as Python, and torch.compile recompiles them for a new number."""
    del name, value


def traced_value(variable: Any) -> Tensor | None:
    """Returns `None`, because steps read Python numbers."""
    del variable
    return None


def has_detached_value(variable: Any) -> bool:
    """Returns `False`: variables hold their values during a loop of steps."""
    del variable
    return False


def build_optimizer(model: keras.Model) -> None:
    """Does nothing, because the training loop of Keras builds the optimizer itself."""
    del model


def predict_on_batch(model: keras.Model, inputs: Any) -> Any:
    """Applies a built model to one batch in a compiled function, and returns NumPy arrays.

    Args:
        model: Keras model. A call must not change its state.
        inputs: Nested arrays.
    """
    return model.predict_on_batch(inputs)


def assign_if(variables: Sequence[Any], values: Sequence[Tensor], condition: Tensor) -> None:
    """Assigns values to variables if a boolean scalar is true.

    The assignment bypasses autograd, which raises an error if a step writes to a tensor that its
    backward pass needs, even if the values stay the same.
    """
    for variable, value in zip(variables, values, strict=True):
        chosen = ops.where(condition, value, ops.convert_to_tensor(variable))
        tensor = variable.value
        if keras.backend.standardize_dtype(tensor.dtype) == variable.dtype:
            tensor.data.copy_(chosen)
        else:  # a copy in the dtype of an autocast scope
            variable.assign(chosen)


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
    with torch.enable_grad():  # gradients are disabled in evaluation
        at = at.clone().requires_grad_(True)
        scalars = function(at)
        found = [
            torch.autograd.grad(scalar, at, retain_graph=True, materialize_grads=True)[0]
            for scalar in scalars
        ]
    return [ops.stop_gradient(gradient) for gradient in found]


# --- operations


def segment_sum(values: Tensor, segments: Tensor, count: int) -> Tensor:
    """Sums the values of each segment, as `keras.ops.segment_sum` does.

    Keras's function is slower: it expands the segments to int64 indices of each number.
    """
    values, segments = ops.convert_to_tensor(values), ops.convert_to_tensor(segments)
    zeros = values.new_zeros((count, *values.shape[1:]))
    return zeros.index_add(0, segments, values)


def take_per_row(values: Tensor, indices: Tensor) -> Tensor:
    """Selects one column of each matrix: `(n, rows, width)`, `(n,)` -> `(n, rows)`.

    Keras's `take_along_axis` would take a tenth as long as a nearest-code search.
    """
    places = indices.long()[:, None, None].expand(-1, values.shape[1], 1)
    return values.gather(2, places)[..., 0]


def argmax_and_max(values: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the argmax and the maximum of each row: `(n, width)` -> int32 `(n,)`, `(n,)`.

    The lowest index wins a tie. Not for exported graphs: see `ops.argmax`.
    """
    maxima, indices = values.max(dim=-1)
    return indices.int(), maxima


def buffered_matmul() -> Callable[[Tensor, Tensor], Tensor]:
    """Returns a matmul for a loop, which reuses one output buffer and has no gradients.

    In eager execution PyTorch allocates and frees the memory of a large matrix in each iteration,
    which may take as long as the product. torch.compile plans memory.
    """
    products: list[Any] = []

    def matmul(left: Any, right: Any) -> Any:
        if torch.compiler.is_compiling() or left.dtype != right.dtype:
            return ops.matmul(left, right)
        shape = (left.shape[0], right.shape[1])
        if not products or products[0].shape != shape:
            products[:] = [left.new_empty(shape)]
        return torch.mm(left.detach(), right.detach(), out=products[0])

    return matmul


def optimization_barrier(tensor: Tensor) -> Tensor:
    """Returns the tensor, because only XLA recomputes tensors."""
    return tensor


def has_operator_fusion() -> bool:
    """Returns `False`, because torch.compile does not make the dependent operations faster."""
    return False


def search_blocks(shape: Sequence[int | None]) -> SearchBlocks:
    """Returns the block sizes that `python -m benchmarks parts sizes` found fastest on CPUs.

    Loops of PyTorch have an overhead per block.

    Args:
        shape: Sequence of integers or `None` (unknown): shape of the vectors without the last axis,
            then the number of codes.
    """
    scores, known = 2**20, [size for size in shape if size is not None]
    if torch.compiler.is_compiling() and len(known) == len(shape):
        # torch.compile unrolls the loop: a thousand iterations take minutes to compile.
        scores = min(max(scores, math.prod(known) // 64), 2**24)
    return SearchBlocks(codes=8192, scores=scores)


def with_fused_search(by_blocks: Search) -> Search:
    """Returns a search that may use a fused Triton kernel on NVIDIA GPUs.

    The kernels have not been timed on a GPU yet, so that they are off by default. The environment
    variable KERAS_VQ_FUSED_SEARCH=1, set before the import, turns them on: the faster search is
    then determined once per size (`fused_search.choice`), and a kernel that fails or finds other
    codes is not used, which is logged by the logger `keras_vq`.

    Args:
        by_blocks: Callable that maps vectors `(..., dim)` and code vectors to int32 codes `(...)`.
    """
    if os.environ.get("KERAS_VQ_FUSED_SEARCH") != "1":
        return by_blocks
    if torch.version.cuda is None or not torch.cuda.is_available():
        return by_blocks
    try:
        from keras_vq.backend.fused_search import by_triton
    except ImportError:  # PyTorch does not include Triton on Windows
        return by_blocks
    fused_or_blocks = by_triton.or_blocks(by_blocks)

    def search(vectors: Tensor, codes: Tensor) -> Tensor:
        if not vectors.is_cuda:
            return by_blocks(vectors, codes)
        return search_rows(fused_or_blocks, vectors, codes)

    return search


def has_slow_conv_transpose_gradients() -> bool:
    """Returns whether gradients of transposed convolutions are slow compared to convolutions."""
    return False


def crops_conv_transpose() -> bool:
    """Returns whether Keras crops transposed convolutions for padding "same".

    Gradients then cost twice as much. The padding of PyTorch's operation is equal at both ends, so
    that Keras computes a larger output and crops it.
    """
    return True


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
    from keras_vq.backend.torch_convolution import SameTransposedConvolution

    images, kernel = inputs.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1)
    outputs = SameTransposedConvolution.apply(images, kernel, strides).permute(0, 2, 3, 1)
    # Added separately, because within the convolution a bias may take as long as the rest of it.
    return outputs if bias is None else outputs + bias


# --- export


def exports_native_saved_models() -> bool:
    """Returns whether this backend exports SavedModels with native TensorFlow operations."""
    return False


def onnx_converter() -> tuple[str, str]:
    """Returns the package that exports ONNX from this backend, and the extra that installs it."""
    return "onnxscript", "onnx"


@contextlib.contextmanager
def ignore_tracer_warnings() -> Iterator[None]:
    """Ignores warnings of PyTorch's tracer about tensor sizes that Keras layers read.

    These sizes depend on the model, not on the batch. Warnings about other code are not ignored.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=r"keras\.src\.")
        yield
