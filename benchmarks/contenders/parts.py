"""Single parts of a `VectorQuantizer` step on the current Keras backend."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

import keras_vq
from benchmarks.contenders import inputs
from keras_vq import _search


def make(
    vectors: int, dim: int, codes: int, part: str, compiled: bool = False
) -> Callable[[], object]:
    """Builds one part: `search` (or search in `blocks`), `statistics` or `look-up`."""
    x = ops.convert_to_tensor(inputs(vectors, dim))
    table = ops.convert_to_tensor(inputs(codes, dim))
    indices = keras_vq.ops.nearest_code(x, table)
    parts: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "search": (keras_vq.ops.nearest_code, (x, table)),
        "blocks": (_search.search_by_blocks, (x, table)),
        "statistics": (
            lambda x, indices: (
                keras_vq.ops.code_counts(indices, codes),
                keras_vq.ops.code_sums(x, indices, codes),
            ),
            (x, indices),
        ),
        "look-up": (lambda table, indices: ops.take(table, indices, axis=0), (table, indices)),
    }
    function, arguments = parts[part]
    run = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.backend.backend()]
    return run(function, arguments, compiled)


def _tensorflow(
    function: Callable[..., Any], arguments: tuple[Any, ...], compiled: bool
) -> Callable[[], object]:
    import tensorflow as tf

    called = tf.function(function, jit_compile=compiled)
    return lambda: [part.numpy() for part in tf.nest.flatten(called(*arguments))]


def _jax(
    function: Callable[..., Any], arguments: tuple[Any, ...], compiled: bool
) -> Callable[[], object]:
    del compiled
    import jax

    called = jax.jit(function)
    return lambda: jax.block_until_ready(called(*arguments))


def _torch(
    function: Callable[..., Any], arguments: tuple[Any, ...], compiled: bool
) -> Callable[[], object]:
    import torch

    from benchmarks.contenders.torch_device import wait

    called = torch.compile(function) if compiled else function

    def run() -> None:
        called(*arguments)
        wait()

    return run
