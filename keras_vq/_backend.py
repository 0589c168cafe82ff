"""Functions with a separate implementation for TensorFlow, JAX or PyTorch.

Other modules call them on every backend, and do not branch on it.
"""

import contextlib
import functools
import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_vq._types import Search, Tensor

BACKEND = keras.backend.backend()


def num_replicas() -> int:
    """Returns the number of replicas that share the global batch of the current step.

    It is 1 wherever a step processes the global batch itself: on a single device, and always on
    JAX, whose distributed arrays are global.
    """
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return int(tf.distribute.get_strategy().num_replicas_in_sync)
    if BACKEND == "torch":
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized():
            return int(dist.get_world_size())
    return 1


def loss_replicas() -> int:
    """Returns the number by which to divide the loss of one replica under data parallelism.

    TensorFlow's strategies sum gradients over replicas, PyTorch's DistributedDataParallel averages
    them, and JAX computes them on the global batch.
    """
    return num_replicas() if BACKEND == "tensorflow" else 1


class LossesOfReplica:
    """Losses added by a layer, with a separate list for each replica of a TensorFlow strategy.

    Replaces the list in which a Keras layer stores its losses. A strategy traces replicas of the
    same layers in threads that alternate at each all-reduce. With one shared list, a replica would
    clear or return the losses of another.
    """

    def __init__(self) -> None:
        self._of_all: list[Tensor] = []
        self._of_thread = threading.local()

    def _list(self) -> list[Tensor]:
        if BACKEND != "tensorflow" or num_replicas() == 1:
            return self._of_all
        if not hasattr(self._of_thread, "losses"):
            self._of_thread.losses = []
        return self._of_thread.losses

    def extend(self, losses: Iterable[Tensor]) -> None:
        """Adds losses of this replica."""
        self._list().extend(losses)

    def clear(self) -> None:
        """Removes the losses of this replica."""
        self._list().clear()

    def __getitem__(self, place: slice) -> list[Tensor]:
        return self._list()[place]

    def __reduce__(self) -> Any:  # a copied layer has no losses
        return LossesOfReplica, ()


def sum_over_replicas(tensors: list[Tensor]) -> list[Tensor]:
    """Sums each tensor over the replicas of the current step (all-reduce)."""
    if num_replicas() == 1:
        return tensors
    if BACKEND == "tensorflow":
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        return list(context.all_reduce(tf.distribute.ReduceOp.SUM, tensors))
    import torch.distributed as dist

    summed = [tensor.clone() for tensor in tensors]
    for tensor in summed:
        dist.all_reduce(tensor)
    return summed


def from_first_replica(tensor: Tensor) -> Tensor:
    """Returns the first replica's value of a tensor on all replicas (broadcast)."""
    if num_replicas() == 1 or _is_outside_replicas():
        return tensor
    is_first = ops.equal(replica_index(), 0)
    (value,) = sum_over_replicas([ops.where(is_first, tensor, ops.zeros_like(tensor))])
    return value


def _is_outside_replicas() -> bool:
    """Returns whether the code runs in the cross-replica context of a TensorFlow strategy."""
    if BACKEND != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.get_replica_context() is None


def gather_over_replicas(tensor: Tensor) -> Tensor:
    """Stacks the values of all replicas along a new first axis, in replica order (all-gather)."""
    count = num_replicas()
    if count == 1:
        return tensor[None]
    place = ops.cast(ops.equal(ops.arange(count), replica_index()), tensor.dtype)
    place = ops.reshape(place, (count,) + (1,) * len(tensor.shape))
    (gathered,) = sum_over_replicas([place * tensor[None]])
    return gathered


def replica_index() -> Any:
    """Returns the index of this replica, from 0 to `num_replicas() - 1`."""
    if num_replicas() == 1:
        return 0
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_replica_context().replica_id_in_sync_group
    import torch.distributed as dist

    return dist.get_rank()


@contextlib.contextmanager
def kept_weights(model: keras.Model) -> Iterator[None]:
    """Restores the weights of a model on JAX if a loop of steps is interrupted.

    On JAX, Keras moves all values out of the model while it runs steps, and moves them back only
    at the end of the loop: after an error or a KeyboardInterrupt the model would have no values.
    This context manager restores the values after the last completed step. It does nothing on the
    other backends, which keep the values in the model.
    """
    if BACKEND != "jax":
        yield
        return
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *model.metrics_variables]
    variables += optimizer.variables if optimizer is not None else []
    # References, not copies, so that donated buffers are still freed.
    values = [variable._value for variable in variables]
    try:
        yield
    except BaseException:
        model.jax_state_sync()
        for variable, value in zip(variables, values, strict=True):
            if variable._value is None and value is not None and not value.is_deleted():
                variable.assign(value)
        raise


def step_variable(name: str, value: float) -> Any:
    """Creates a float32 variable for a number that compiled steps read; `None` on PyTorch.

    PyTorch steps run as Python, and torch.compile recompiles them if a number changes.
    """
    if BACKEND == "torch":
        return None
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
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return None if tf.executing_eagerly() else ops.convert_to_tensor(variable)
    if BACKEND == "torch":
        return None
    import jax

    value = variable.value
    return value if isinstance(value, jax.core.Tracer) else None


def is_lent_to_step(variable: Any) -> bool:
    """Returns whether Keras on JAX is running steps, and holds the value outside the variable."""
    return BACKEND == "jax" and variable._value is None


def build_optimizer(model: keras.Model) -> None:
    """Builds the optimizer before a step is traced, if all layers of the model are built.

    TensorFlow traces a step twice if it creates variables. The training loops of the other backends
    build the optimizer themselves.
    """
    optimizer = model.optimizer
    if BACKEND != "tensorflow" or optimizer is None or optimizer.built:
        return
    if all(layer.built for layer in model._flatten_layers()):
        with model.distribute_strategy.scope():
            optimizer.build(model.trainable_variables)


def apply_to_batch(model: keras.Model, inputs: Any) -> Any:
    """Applies a built model to one batch in a compiled function, and returns NumPy arrays.

    On JAX, `predict_on_batch` donates the weights to the compiled function, so that an error or a
    KeyboardInterrupt would lose them. This function does not donate them.

    Args:
        model: Keras model. A call must not change its state.
        inputs: Nested arrays.
    """
    if BACKEND != "jax":
        return model.predict_on_batch(inputs)
    import jax

    if not hasattr(model, "_compiled_for_batches"):
        model._compiled_for_batches = jax.jit(
            lambda trainable, others, inputs: model.stateless_call(trainable, others, inputs)[0]
        )
    weights = [
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    made = model._compiled_for_batches(*weights, inputs)
    return keras.tree.map_structure(ops.convert_to_numpy, made)


def prompt_data(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    shuffle: Any = False,
    class_weight: Any = None,
) -> tuple[Any, Any, Any]:
    """Disables `tf.data` autotuning of data for a Keras loop, to avoid a delay at its end.

    A `tf.data` pipeline is autotuned in a thread by default, and waits for that thread at its end.
    The thread sleeps for 10 ms, 20 ms, 40 ms and so on, up to a minute, so that an epoch may take
    twice as long as its steps. On TensorFlow, Keras converts all data to such a pipeline. A
    pipeline for which the user has set the autotuning option keeps it.

    The arguments are those of `fit`, `evaluate` and `predict`.

    Returns:
        `(x, y, sample_weight)`, to be passed to the loop. On TensorFlow `x` includes `y`,
        `sample_weight`, `class_weight`, `shuffle` and `batch_size`, and the others are `None`.
    """
    if BACKEND != "tensorflow":
        return not_tuned(x), y, sample_weight
    # A private module, because Keras accepts a data adapter as `x` but does not export the class.
    from keras.src.trainers.data_adapters import get_data_adapter

    adapter = get_data_adapter(
        x, y, sample_weight, batch_size, steps_per_epoch, shuffle, class_weight
    )
    as_dataset = adapter.get_tf_dataset
    adapter.get_tf_dataset = lambda: not_tuned(as_dataset())
    return adapter, None, None


def split_arrays(data: tuple[Any, Any, Any], share: float) -> tuple[Any, Any]:
    """Splits arrays into training and validation rows, as `fit(validation_split=share)` does."""
    from keras.src.trainers.data_adapters import array_slicing

    parts: tuple[Any, Any] = array_slicing.train_validation_split(data, validation_split=share)
    return parts


def not_tuned(data: Any) -> Any:
    """Disables autotuning of a `tf.data` pipeline; returns other data unchanged."""
    # A pipeline exists only if TensorFlow is imported, which would otherwise take seconds.
    tf = sys.modules.get("tensorflow")
    if tf is None or not isinstance(data, tf.data.Dataset):
        return data
    options = tf.data.Options()
    if data.options().autotune.enabled is None:
        options.autotune.enabled = False
    return data.with_options(options)


def restore(variables: Sequence[Any], values: Sequence[Tensor], condition: Tensor) -> None:
    """Assigns former values to variables if a boolean scalar is true.

    On PyTorch the assignment bypasses autograd, which raises an error if a step writes to a tensor
    that its backward pass needs, even if the values stay the same.
    """
    for variable, value in zip(variables, values, strict=True):
        chosen = ops.where(condition, value, ops.convert_to_tensor(variable))
        if BACKEND == "torch":
            variable._value.data.copy_(chosen)
        else:
            variable.assign(chosen)


def train_step_without_skipped(
    step: Callable[..., Any], state_and_data: Sequence[Any], model: keras.Model, kept: list[Any]
) -> Any:
    """Runs a training step, and reverts its changes to some variables if loss scaling skips it.

    A `LossScaleOptimizer` skips a step whose gradients are not finite, and halves its scale.

    Args:
        step: Callable. Training step of the Keras model.
        state_and_data: Arguments of the step: `(data,)`, or `(state, data)` on JAX.
        model: Keras model compiled with a `LossScaleOptimizer`.
        kept: List of non-trainable variables that a skipped step must not change.

    Returns:
        The result of the step.
    """
    optimizer: Any = model.optimizer
    if BACKEND == "jax":
        state, _ = state_and_data
        logs, (trainable, others, of_optimizer, metrics) = step(*state_and_data)
        place = next(
            place for place, own in enumerate(optimizer.variables) if own is optimizer.dynamic_scale
        )
        is_skipped = of_optimizer[place] < state[2][place]
        kept_ids = {id(variable) for variable in kept}
        triples = zip(model.non_trainable_variables, state[1], others, strict=True)
        others = [
            ops.where(is_skipped, before, after) if id(variable) in kept_ids else after
            for variable, before, after in triples
        ]
        return logs, (trainable, others, of_optimizer, metrics)
    scale = ops.copy(optimizer.dynamic_scale) if optimizer.built else optimizer.initial_scale
    before = [ops.copy(variable) for variable in kept]
    logs = step(*state_and_data)
    restore(kept, before, ops.less(optimizer.dynamic_scale, scale))
    return logs


def segment_sum(values: Tensor, segments: Tensor, count: int) -> Tensor:
    """Sums the values of each segment, as `keras.ops.segment_sum` does.

    On PyTorch, Keras's function is slower: it expands the segments to int64 indices of each number.
    """
    if BACKEND != "torch":
        return ops.segment_sum(values, segments, num_segments=count)
    values, segments = ops.convert_to_tensor(values), ops.convert_to_tensor(segments)
    zeros = values.new_zeros((count, *values.shape[1:]))
    return zeros.index_add(0, segments, values)


def take_of_each(values: Tensor, indices: Tensor) -> Tensor:
    """Selects one column of each matrix: `(n, rows, width)`, `(n,)` -> `(n, rows)`.

    Keras's `take_along_axis` would take half as long as a nearest-code search on TensorFlow, and a
    tenth as long on PyTorch.
    """
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.gather(values, indices, axis=2, batch_dims=1)
    if BACKEND == "torch":
        places = indices.long()[:, None, None].expand(-1, values.shape[1], 1)
        return values.gather(2, places)[..., 0]
    return ops.take_along_axis(values, indices[:, None, None], axis=2)[..., 0]


def first_maximum_and_value(values: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the argmax and the maximum of each row: `(n, width)` -> int32 `(n,)`, `(n,)`.

    The lowest index wins a tie. Not for exported graphs: see `ops.argmax`.
    """
    if BACKEND == "torch":
        maxima, indices = values.max(dim=-1)
        return indices.int(), maxima
    if BACKEND == "tensorflow":
        import tensorflow as tf

        # `keras.ops.argmax` first orders -0.0 below 0.0, with operations on all numbers.
        indices = tf.argmax(values, axis=-1, output_type=tf.int32)
    else:
        indices = ops.cast(ops.argmax(values, axis=-1), "int32")
    return indices, ops.amax(values, axis=-1)


def matmul_into_same_memory() -> Callable[[Tensor, Tensor], Tensor]:
    """Returns a matmul for a loop, which reuses one output buffer on PyTorch; no gradients there.

    In eager execution PyTorch allocates and frees the memory of a large matrix in each iteration,
    which may take as long as the product. Compilers and the other backends plan memory.
    """
    return _torch_matmul_into_same_memory() if BACKEND == "torch" else ops.matmul


def _torch_matmul_into_same_memory() -> Callable[[Tensor, Tensor], Tensor]:
    import torch

    products: list[Any] = []

    def matmul(left: Any, right: Any) -> Any:
        if torch.compiler.is_compiling() or left.dtype != right.dtype:
            return ops.matmul(left, right)
        shape = (left.shape[0], right.shape[1])
        if not products or products[0].shape != shape:
            products[:] = [left.new_empty(shape)]
        return torch.mm(left.detach(), right.detach(), out=products[0])

    return matmul


def computed_once(tensor: Tensor) -> Tensor:
    """Applies an optimization barrier, so that XLA does not recompute the tensor for each use."""
    if BACKEND == "jax":
        import jax

        return jax.lax.optimization_barrier(tensor)
    if not fuses_operations():
        return tensor
    try:
        from tensorflow.compiler.tf2xla.python import xla
    except ImportError:  # a private module
        return tensor
    return xla.optimization_barrier(tensor)[0]


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
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(persistent=True) as tape:
            tape.watch(at)
            scalars = function(at)
        found = [tape.gradient(scalar, at, unconnected_gradients="zero") for scalar in scalars]
    elif BACKEND == "jax":
        import jax

        scalars, pull_back = jax.vjp(lambda tensor: list(function(tensor)), at)
        found = [
            pull_back([ops.cast(place == other, one.dtype) for other, one in enumerate(scalars)])[0]
            for place in range(len(scalars))
        ]
    else:
        import torch

        with torch.enable_grad():  # gradients are disabled in evaluation
            at = at.clone().requires_grad_(True)
            scalars = function(at)
            found = [
                torch.autograd.grad(scalar, at, retain_graph=True, materialize_grads=True)[0]
                for scalar in scalars
            ]
    return [ops.stop_gradient(gradient) for gradient in found]


def fuses_operations() -> bool:
    """Returns whether XLA compiles the code that is traced now, and fuses its operations.

    `False` under torch.compile, which does not make the operations that depend on it faster.
    """
    if BACKEND != "tensorflow":
        return BACKEND == "jax"
    try:
        import tensorflow as tf
        from tensorflow.python.ops import control_flow_util
    except ImportError:  # the second is a private module
        return False
    return bool(control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


class SearchBlocks(NamedTuple):
    """Block sizes of the nearest-code search."""

    codes: int  # maximum number of codes per block
    scores: int  # scores per block; more if the block would have too few vectors


def search_blocks(shape: Sequence[int | None]) -> SearchBlocks:
    """Returns the block sizes that `python -m benchmarks parts sizes` found fastest on CPUs.

    XLA's loops are fastest with blocks that fit into the private cache of a core. Loops of
    TensorFlow without XLA and of PyTorch have an overhead per block.

    Args:
        shape: Sequence of integers or `None` (unknown): shape of the vectors without the last axis,
            then the number of codes.
    """
    codes = shape[-1]
    if fuses_operations():
        return SearchBlocks(codes=1024, scores=2**17 if codes and codes <= 1024 else 2**18)
    if BACKEND == "tensorflow":
        return SearchBlocks(codes=8192, scores=2**18)
    import torch

    scores, known = 2**20, [size for size in shape if size is not None]
    if torch.compiler.is_compiling() and len(known) == len(shape):
        # torch.compile unrolls the loop: a thousand iterations take minutes to compile.
        scores = min(max(scores, math.prod(known) // 64), 2**24)
    return SearchBlocks(codes=8192, scores=scores)


def with_fused_search(by_blocks: Search) -> Search:
    """Returns a search that uses a fused Triton or Pallas kernel on NVIDIA GPUs if it is faster.

    The faster search is determined once per size (`fused_search.choice`). A kernel that fails or
    finds other codes is not used, which is logged by the logger `keras_vq`. The environment
    variable KERAS_VQ_FUSED_SEARCH=0 disables the kernels.

    Args:
        by_blocks: Callable that maps vectors `(..., dim)` and code vectors to int32 codes `(...)`.
    """
    if os.environ.get("KERAS_VQ_FUSED_SEARCH") == "0":
        return by_blocks
    if BACKEND == "torch":
        return _with_triton(by_blocks)
    return _with_pallas(by_blocks) if BACKEND == "jax" else by_blocks


def _with_triton(by_blocks: Search) -> Search:
    import torch

    if torch.version.cuda is None or not torch.cuda.is_available():
        return by_blocks
    try:
        from keras_vq._by_backend.fused_search import by_triton
    except ImportError:  # PyTorch does not include Triton on Windows
        return by_blocks
    fused_or_blocks = by_triton.or_blocks(by_blocks)

    def search(vectors: Tensor, codes: Tensor) -> Tensor:
        if not vectors.is_cuda:
            return by_blocks(vectors, codes)
        return _of_rows(fused_or_blocks, vectors, codes)

    return search


def _with_pallas(by_blocks: Search) -> Search:
    import jax

    def search(vectors: Tensor, codes: Tensor) -> Tensor:
        # XLA cannot partition a kernel across devices.
        is_divided = keras.distribution.distribution() is not None
        if jax.default_backend() != "gpu" or is_divided or None in vectors.shape:
            return by_blocks(vectors, codes)
        try:
            from keras_vq._by_backend.fused_search import by_pallas  # slow, 0.3 s
        except ImportError:  # `jax.experimental` may change
            return by_blocks
        fused_or_blocks = functools.partial(_of_rows, by_pallas.or_blocks(by_blocks))
        vectors, codes = jax.lax.stop_gradient((vectors, codes))
        # The program may be compiled for a device other than the default one.
        return jax.lax.platform_dependent(vectors, codes, cuda=fused_or_blocks, default=by_blocks)

    return search


def _of_rows(search: Search, vectors: Tensor, codes: Tensor) -> Tensor:
    """Applies a search of vectors `(n, dim)` to vectors `(..., dim)`."""
    rows = ops.reshape(vectors, (-1, vectors.shape[-1]))
    return ops.reshape(search(rows, codes), ops.shape(vectors)[:-1])


def is_slow_to_transpose_convolutions() -> bool:
    """Returns whether gradients of transposed convolutions are slow compared to convolutions.

    XLA has no fast implementation of them on CPUs.
    """
    if BACKEND != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"


def crops_transposed_convolutions() -> bool:
    """Returns whether Keras crops transposed convolutions for padding "same".

    Gradients then cost twice as much. On PyTorch, the padding of the operation itself is equal at
    both ends, so that Keras computes a larger output and crops it.
    """
    return BACKEND == "torch"


def uncropped_transposed_convolution(
    inputs: Tensor, kernel: Tensor, bias: Tensor | None, strides: tuple[int, int]
) -> Tensor:
    """Computes PyTorch's transposed convolution with the padding "same" of Keras.

    Args:
        inputs: Tensor of shape `(batch, height, width, channels)`.
        kernel: Tensor of shape `(kernel_height, kernel_width, filters, channels)`, no smaller than
            the strides.
        bias: Tensor of shape `(filters,)`, or `None`.
        strides: Tuple of 2 integers. Strides along height and width.

    Returns:
        Tensor of shape `(batch, height * strides[0], width * strides[1], filters)`.
    """
    from keras_vq._by_backend.torch_convolution import SameTransposedConvolution

    images, kernel = inputs.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1)
    outputs = SameTransposedConvolution.apply(images, kernel, strides).permute(0, 2, 3, 1)
    # Added separately, because within the convolution a bias may take as long as the rest of it.
    return outputs if bias is None else outputs + bias


def writes_saved_models() -> bool:
    """Returns whether this backend exports SavedModels with native TensorFlow operations.

    JAX exports a SavedModel with a single operation that neither LiteRT nor OpenVINO supports.
    """
    return BACKEND == "tensorflow"


def onnx_converter() -> tuple[str, str]:
    """Returns the package that exports ONNX from this backend, and the extra that installs it."""
    return {
        "tensorflow": ("tf2onnx", "onnx"),
        "jax": ("jax2onnx", "onnx-jax"),
        "torch": ("onnxscript", "onnx"),
    }[BACKEND]


@contextlib.contextmanager
def quiet_tracing() -> Iterator[None]:
    """Silences warnings of PyTorch's tracer about tensor sizes that Keras layers read.

    These sizes depend on the model, not on the batch. Warnings about other code are not silenced.
    """
    with warnings.catch_warnings():
        if BACKEND == "torch":
            import torch

            warnings.filterwarnings(
                "ignore", category=torch.jit.TracerWarning, module=r"keras\.src\."
            )
        yield
