"""Helper functions that do not depend on the backend."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_vq._types import Search, Tensor


class SearchBlocks(NamedTuple):
    """Block sizes of the nearest-code search."""

    codes: int  # maximum number of codes per block
    scores: int  # scores per block; more if the block would have too few vectors


def fused_search_blocks(shape: Sequence[int | None]) -> SearchBlocks:
    """Returns block sizes for loops that XLA compiles.

    XLA's loops are fastest with blocks that fit into the private cache of a core.
    """
    codes = shape[-1]
    return SearchBlocks(codes=1024, scores=2**17 if codes and codes <= 1024 else 2**18)


def search_rows(search: Search, vectors: Tensor, codes: Tensor) -> Tensor:
    """Applies a search of vectors `(n, dim)` to vectors `(..., dim)`."""
    rows = ops.reshape(vectors, (-1, vectors.shape[-1]))
    return ops.reshape(search(rows, codes), ops.shape(vectors)[:-1])


def without_autotune(data: Any) -> Any:
    """Disables autotuning of a `tf.data` pipeline; returns other data unchanged.

    At the end of each epoch, a pipeline with autotuning waits for its tuning thread, which sleeps
    for 10 ms, 20 ms, 40 ms and so on, up to a minute. A pipeline for which the user has set the
    option keeps it.
    """
    # A pipeline exists only if TensorFlow is imported, which would otherwise take seconds.
    tf = sys.modules.get("tensorflow")
    if tf is None or not isinstance(data, tf.data.Dataset):
        return data
    options = tf.data.Options()
    if data.options().autotune.enabled is None:
        options.autotune.enabled = False
    return data.with_options(options)


def step_with_rollback(
    step: Callable[..., Any],
    state_and_data: Sequence[Any],
    model: keras.Model,
    variables: list[Any],
    assign_if: Callable[..., None],
) -> Any:
    """Runs a training step, and reverts its changes to some variables if loss scaling skips it.

    A `LossScaleOptimizer` skips a step whose gradients are not finite, and halves its scale.

    Args:
        step: Callable. Training step of the Keras model.
        state_and_data: Sequence of the arguments of the step: `(data,)`.
        model: Keras model compiled with a `LossScaleOptimizer`.
        variables: List of non-trainable variables that a skipped step must not change.
        assign_if: Callable. `assign_if` of the backend.

    Returns:
        The result of the step.
    """
    optimizer: Any = model.optimizer
    scale = ops.copy(optimizer.dynamic_scale) if optimizer.built else optimizer.initial_scale
    before = [ops.copy(variable) for variable in variables]
    logs = step(*state_and_data)
    assign_if(variables, before, ops.less(optimizer.dynamic_scale, scale))
    return logs
