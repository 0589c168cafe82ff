"""All that differs between TensorFlow, JAX and PyTorch: no other file asks which one runs."""

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
    """How many replicas share the global batch of the step being run.

    One wherever the step sees the global batch itself: on a single device, and always on JAX,
    whose distributed arrays are global.
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
    """By how many replicas the losses of one replica are divided before their gradients are summed.

    TensorFlow's strategies sum gradients over replicas; PyTorch's DistributedDataParallel already
    averages them, and JAX computes them on the global batch.
    """
    return num_replicas() if BACKEND == "tensorflow" else 1


class LossesOfReplica:
    """The losses a layer has added, kept apart for each replica of a TensorFlow strategy.

    Stands in for the list in which a Keras layer keeps them. A strategy traces its replicas in
    threads that take turns at every sum over replicas, on the same layers: with one list for all,
    a replica would clear, or add to its own, what another added.
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
        """Forgets the losses of this replica."""
        self._list().clear()

    def __getitem__(self, place: slice) -> list[Tensor]:
        return self._list()[place]

    def __reduce__(self) -> Any:  # a copy of the layer starts without losses
        return LossesOfReplica, ()


def sum_over_replicas(tensors: list[Tensor]) -> list[Tensor]:
    """Sums each tensor over the replicas of the step being run."""
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
    """Gives every replica the first replica's value of a tensor."""
    if num_replicas() == 1 or _is_outside_replicas():
        return tensor
    is_first = ops.equal(replica_index(), 0)
    (value,) = sum_over_replicas([ops.where(is_first, tensor, ops.zeros_like(tensor))])
    return value


def _is_outside_replicas() -> bool:
    """Whether one program runs for all replicas, as in a TensorFlow strategy's scope."""
    if BACKEND != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.get_replica_context() is None


def gather_over_replicas(tensor: Tensor) -> Tensor:
    """Stacks each replica's value of a tensor along a new first axis, in the replicas' order."""
    count = num_replicas()
    if count == 1:
        return tensor[None]
    place = ops.cast(ops.equal(ops.arange(count), replica_index()), tensor.dtype)
    place = ops.reshape(place, (count,) + (1,) * len(tensor.shape))
    (gathered,) = sum_over_replicas([place * tensor[None]])
    return gathered


def replica_index() -> Any:
    """Which of the `num_replicas()` replicas runs this step: 0 for the first."""
    if num_replicas() == 1:
        return 0
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_replica_context().replica_id_in_sync_group
    import torch.distributed as dist

    return dist.get_rank()


@contextlib.contextmanager
def kept_weights(model: keras.Model) -> Iterator[None]:
    """Gives a model back its weights when an error, or the user, ends a loop of steps.

    On JAX Keras takes all values out of the model while it runs steps, and puts them back only
    when the loop ends well: after an error, or Ctrl-C in a notebook, the model would be empty.
    The values put back are those of after the last whole step. Other backends keep the values
    in the model, and nothing is done.
    """
    if BACKEND != "jax":
        yield
        return
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *model.metrics_variables]
    variables += optimizer.variables if optimizer is not None else []
    # References, not copies: a step that takes them over frees them all the same.
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
    """Returns a float32 variable for a number that compiled steps read; None on PyTorch.

    PyTorch's steps run as Python, and torch.compile compiles anew when a number has changed.
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
    """Returns a `step_variable` as a tensor of the step that is being traced; None outside one."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return None if tf.executing_eagerly() else ops.convert_to_tensor(variable)
    if BACKEND == "torch":
        return None
    import jax

    value = variable.value
    return value if isinstance(value, jax.core.Tracer) else None


def is_lent_to_step(variable: Any) -> bool:
    """Returns true while Keras on JAX runs steps and keeps the value outside the variable."""
    return BACKEND == "jax" and variable._value is None


def build_optimizer(model: keras.Model) -> None:
    """Makes the state of an optimizer before a step is traced, if the model has all its weights.

    TensorFlow traces a step that makes variables twice. The other backends' loops do this by
    themselves.
    """
    optimizer = model.optimizer
    if BACKEND != "tensorflow" or optimizer is None or optimizer.built:
        return
    if all(layer.built for layer in model._flatten_layers()):
        with model.distribute_strategy.scope():
            optimizer.build(model.trainable_variables)


def apply_to_batch(model: keras.Model, inputs: Any) -> Any:
    """What a built model makes of one batch, compiled: NumPy arrays.

    On JAX Keras's own method gives the weights away to the compiled function and takes them back,
    so that an error, or Ctrl-C, in between would lose them. Here they are lent.

    Args:
        model: A model that changes no state.
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
    """Data of a Keras loop that ends when its last batch does: `x`, `y` and `sample_weight`.

    A pipeline of `tf.data` tunes itself in a thread, unless told not to. When it ends it waits for
    that thread, which sleeps 10 ms, 20 ms, 40 ms and so on up to a minute: each epoch is as long as
    the sum that it falls into, up to twice its steps. Keras makes such a pipeline of whatever data
    it is given on TensorFlow. Where its user has said what to tune, it stays so.

    Takes what Keras's loops take, which may be given what it returns. On TensorFlow `x` then has
    `y`, `sample_weight`, `class_weight`, `shuffle` and `batch_size` in it.
    """
    if BACKEND != "tensorflow":
        return not_tuned(x), y, sample_weight
    # A private module: Keras takes such an object as `x`, but gives it no public name.
    from keras.src.trainers.data_adapters import get_data_adapter

    adapter = get_data_adapter(
        x, y, sample_weight, batch_size, steps_per_epoch, shuffle, class_weight
    )
    as_dataset = adapter.get_tf_dataset
    adapter.get_tf_dataset = lambda: not_tuned(as_dataset())
    return adapter, None, None


def split_arrays(data: tuple[Any, Any, Any], share: float) -> tuple[Any, Any]:
    """The first and the last rows of arrays, as `validation_split` of Keras's `fit` parts them."""
    from keras.src.trainers.data_adapters import array_slicing

    parts: tuple[Any, Any] = array_slicing.train_validation_split(data, validation_split=share)
    return parts


def not_tuned(data: Any) -> Any:
    """A pipeline of `tf.data` that does not tune itself; anything else as it is."""
    # Whoever has made one has imported TensorFlow, which else takes seconds.
    tf = sys.modules.get("tensorflow")
    if tf is None or not isinstance(data, tf.data.Dataset):
        return data
    options = tf.data.Options()
    if data.options().autotune.enabled is None:
        options.autotune.enabled = False
    return data.with_options(options)


def restore(variables: Sequence[Any], values: Sequence[Tensor], condition: Tensor) -> None:
    """Assigns former values to variables if a boolean scalar is true.

    On PyTorch the assignment is hidden from automatic differentiation, which refuses the gradient
    of a step that writes to a tensor it needs, even if the values stay the same.
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
    """Runs a training step, and undoes its changes to some variables if loss scaling skips it.

    A `LossScaleOptimizer` skips a step whose gradients are not finite, and halves its scale.

    Args:
        step: Keras's training step of the model.
        state_and_data: Its arguments: `(data,)`, or `(state, data)` on JAX.
        model: A model that is compiled with a `LossScaleOptimizer`.
        kept: Non-trainable variables that a skipped step must not change.

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
    """Sums of the values of each segment, as Keras's function of the name gives them.

    On PyTorch Keras first writes the segments out for every number of a value, as int64.
    """
    if BACKEND != "torch":
        return ops.segment_sum(values, segments, num_segments=count)
    values, segments = ops.convert_to_tensor(values), ops.convert_to_tensor(segments)
    zeros = values.new_zeros((count, *values.shape[1:]))
    return zeros.index_add(0, segments, values)


def take_of_each(values: Tensor, indices: Tensor) -> Tensor:
    """One column of each matrix: `(n, rows, width)` and `(n,)` give `(n, rows)`.

    Keras's `take_along_axis` for this takes half as long as a search of codes on TensorFlow, and a
    tenth on PyTorch.
    """
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.gather(values, indices, axis=2, batch_dims=1)
    if BACKEND == "torch":
        places = indices.long()[:, None, None].expand(-1, values.shape[1], 1)
        return values.gather(2, places)[..., 0]
    return ops.take_along_axis(values, indices[:, None, None], axis=2)[..., 0]


def first_maximum_and_value(values: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the largest of each row, and that number: `(n, width)` -> int32 `(n,)`, `(n,)`.

    The lowest index wins a tie. Not for graphs to export: see `ops.first_maximum`.
    """
    if BACKEND == "torch":
        maxima, indices = values.max(dim=-1)
        return indices.int(), maxima
    if BACKEND == "tensorflow":
        import tensorflow as tf

        # Keras's makes -0.0 less than 0.0 first, in operations on all numbers.
        indices = tf.argmax(values, axis=-1, output_type=tf.int32)
    else:
        indices = ops.cast(ops.argmax(values, axis=-1), "int32")
    return indices, ops.amax(values, axis=-1)


def matmul_into_same_memory() -> Callable[[Tensor, Tensor], Tensor]:
    """A product of matrices for a loop, each time into the memory of the time before; no gradients.

    PyTorch asks the system for the memory of a large matrix, and gives it back, each time anew:
    that may take as long as the product. Elsewhere, and compiled, the memory is planned.
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
    """A tensor that XLA shall compute and keep, not compute again in all that it is used for."""
    if BACKEND == "jax":
        import jax

        return jax.lax.optimization_barrier(tensor)
    if not fuses_operations():
        return tensor
    try:
        from tensorflow.compiler.tf2xla.python import xla
    except ImportError:  # no public module
        return tensor
    return xla.optimization_barrier(tensor)[0]


def gradients(function: Callable[[Tensor], Sequence[Tensor]], at: Tensor) -> list[Tensor]:
    """The gradients of several scalars by one tensor, within a step that takes gradients itself.

    Args:
        function: Gives the scalars of a tensor; what else they are made of should have no gradient.
        at: The value of the tensor.

    Returns:
        A gradient for each scalar, through which no further gradient passes.
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

        with torch.enable_grad():  # in evaluation too
            at = at.clone().requires_grad_(True)
            scalars = function(at)
            found = [
                torch.autograd.grad(scalar, at, retain_graph=True, materialize_grads=True)[0]
                for scalar in scalars
            ]
    return [ops.stop_gradient(gradient) for gradient in found]


def fuses_operations() -> bool:
    """Whether XLA compiles what is traced now, so that what lies between operations costs nothing.

    Not of torch.compile, whose code for the operations that this is asked for is no faster.
    """
    if BACKEND != "tensorflow":
        return BACKEND == "jax"
    try:
        import tensorflow as tf
        from tensorflow.python.ops import control_flow_util
    except ImportError:  # the second is no public module
        return False
    return bool(control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


class SearchBlocks(NamedTuple):
    """What a search of nearest codes takes at a time."""

    codes: int  # at most
    scores: int  # of vectors and codes; more where that were too few vectors


def search_blocks(shape: Sequence[int | None]) -> SearchBlocks:
    """The blocks that `python -m benchmarks parts sizes` found fastest on processors.

    XLA's loops take blocks that stay in a core's own cache. TensorFlow's without XLA and PyTorch's
    cost time for each block.

    Args:
        shape: Of the vectors but for their own dimension, and the number of codes; None is unknown.
    """
    codes = shape[-1]
    if fuses_operations():
        return SearchBlocks(codes=1024, scores=2**17 if codes and codes <= 1024 else 2**18)
    if BACKEND == "tensorflow":
        return SearchBlocks(codes=8192, scores=2**18)
    import torch

    scores, known = 2**20, [size for size in shape if size is not None]
    if torch.compiler.is_compiling() and len(known) == len(shape):
        # The compiler writes out every turn of a loop: minutes for a thousand of them.
        scores = min(max(scores, math.prod(known) // 64), 2**24)
    return SearchBlocks(codes=8192, scores=scores)


def with_fused_search(by_blocks: Search) -> Search:
    """A search that on a GPU of NVIDIA's takes a kernel instead, for sizes where it is faster.

    Which is faster is tried once for each size (`fused_search.choice`). A kernel that does not
    run, or finds other codes, is not used; the log of `keras_vq` says so. With
    KERAS_VQ_FUSED_SEARCH=0 in the environment none is tried.

    Args:
        by_blocks: Takes vectors `(..., dim)` and codes, gives int32 indices `(...)`.
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
    except ImportError:  # PyTorch comes without it on Windows
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
        # XLA can't divide a kernel between devices.
        is_divided = keras.distribution.distribution() is not None
        if jax.default_backend() != "gpu" or is_divided or None in vectors.shape:
            return by_blocks(vectors, codes)
        try:
            from keras_vq._by_backend.fused_search import by_pallas  # takes a third of a second
        except ImportError:  # the module is no part of JAX's that is promised to stay
            return by_blocks
        fused_or_blocks = functools.partial(_of_rows, by_pallas.or_blocks(by_blocks))
        vectors, codes = jax.lax.stop_gradient((vectors, codes))
        # The program may be compiled for another device than the default one.
        return jax.lax.platform_dependent(vectors, codes, cuda=fused_or_blocks, default=by_blocks)

    return search


def _of_rows(search: Search, vectors: Tensor, codes: Tensor) -> Tensor:
    """Lets a search of vectors `(n, dim)` take `(..., dim)`."""
    rows = ops.reshape(vectors, (-1, vectors.shape[-1]))
    return ops.reshape(search(rows, codes), ops.shape(vectors)[:-1])


def is_slow_to_transpose_convolutions() -> bool:
    """Whether gradients of transposed convolutions take longer than those of others.

    XLA has no fast code for them on CPUs; libraries of accelerators have.
    """
    if BACKEND != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"


def crops_transposed_convolutions() -> bool:
    """Whether Keras makes more than padding "same" wants, and crops it: gradients then cost twice.

    PyTorch's own padding is as wide at both ends.
    """
    return BACKEND == "torch"


def uncropped_transposed_convolution(
    inputs: Tensor, kernel: Tensor, bias: Tensor | None, strides: tuple[int, int]
) -> Tensor:
    """PyTorch's transposed convolution with what Keras means by padding "same".

    Args:
        inputs: Tensor of shape `(batch, height, width, channels)`.
        kernel: Tensor of shape `(kernel_height, kernel_width, filters, channels)`, no smaller than
            the strides.
        bias: Tensor of shape `(filters,)`, or None.
        strides: Of height and width.

    Returns:
        Tensor of shape `(batch, height * strides[0], width * strides[1], filters)`.
    """
    from keras_vq._by_backend.torch_convolution import SameTransposedConvolution

    images, kernel = inputs.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1)
    outputs = SameTransposedConvolution.apply(images, kernel, strides).permute(0, 2, 3, 1)
    # Within the convolution a bias may take as long as the rest of it.
    return outputs if bias is None else outputs + bias


def writes_saved_models() -> bool:
    """Whether this backend writes SavedModels of TensorFlow's own operations.

    JAX writes one, whose graph is a single operation that neither LiteRT nor OpenVINO can take.
    """
    return BACKEND == "tensorflow"


def onnx_converter() -> tuple[str, str]:
    """The package that writes ONNX from this backend, and the extra of keras_vq that has it."""
    return {
        "tensorflow": ("tf2onnx", "onnx"),
        "jax": ("jax2onnx", "onnx-jax"),
        "torch": ("onnxscript", "onnx"),
    }[BACKEND]


@contextlib.contextmanager
def quiet_tracing() -> Iterator[None]:
    """Silences the warnings of PyTorch's tracer about sizes that Keras's own layers read.

    They are constants of the model, and not of the batch. Warnings about other code pass.
    """
    with warnings.catch_warnings():
        if BACKEND == "torch":
            import torch

            warnings.filterwarnings(
                "ignore", category=torch.jit.TracerWarning, module=r"keras\.src\."
            )
        yield
