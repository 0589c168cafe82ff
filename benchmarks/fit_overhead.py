"""Overhead of `fit` compared with a manual loop around the same compiled step."""

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import _processes, whole_step

BY_HAND, BY_FIT = "a loop by hand", "fit"
# Enough steps that the one-time cost of `fit` is small, as in an epoch of a real data set.
STEPS = 128
# Batch size with a step time of at least 20 ms.
NETWORK, BATCH = "mnist", 128


def make(way: str) -> Callable[[], Any]:
    """Builds an epoch of `STEPS` steps on random pixels, for a worker."""
    import keras
    import numpy as np

    model = whole_step.build(NETWORK)
    images = np.random.default_rng(0).random(
        (STEPS * BATCH, *model.input_shape[1:]), dtype="float32"
    )
    model.compile(keras.optimizers.Adam(1e-3))
    model.train_on_batch(images[:BATCH])  # Builds the model and the optimizer.
    if way == BY_FIT:
        return lambda: model.fit(images, batch_size=BATCH, verbose=0)
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    loop = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.backend.backend()]
    return loop(model, batches)


def _tensorflow(model: Any, batches: list[Any]) -> Callable[[], Any]:
    import tensorflow as tf

    step = tf.function(lambda batch: model.train_step((batch,)), reduce_retracing=True)

    def epoch() -> None:
        model.reset_metrics()
        for batch in batches:
            logs = step(tf.convert_to_tensor(batch))
        float(logs["loss"])

    return epoch


def _jax(model: Any, batches: list[Any]) -> Callable[[], Any]:
    import jax

    step = jax.jit(model.train_step, donate_argnums=0)
    kinds = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    state = tuple([jax.numpy.copy(variable.value) for variable in kind] for kind in kinds)

    def epoch() -> None:
        nonlocal state
        for batch in batches:
            logs, state = step(state, (batch,))
        float(logs["loss"])

    return epoch


def _torch(model: Any, batches: list[Any]) -> Callable[[], Any]:
    import torch

    def epoch() -> None:
        model.reset_metrics()
        for batch in batches:
            logs = model.train_step((torch.from_numpy(batch),))
        float(logs["loss"])

    return epoch


def rows(rounds: int, threads: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields two rows per backend with the step time."""
    for name, backend in _processes.BACKENDS.items():
        tasks = {way: ({"of": "fit_overhead", "way": way}, backend) for way in (BY_HAND, BY_FIT)}
        found = _processes.race(tasks, rounds, threads)
        for way, turns in found.items():
            row = _processes.as_row(turns, found[BY_HAND], "times the loop by hand")
            if "ms" in row:
                row["ms"] /= STEPS
            yield f"{name}: {way}", row
