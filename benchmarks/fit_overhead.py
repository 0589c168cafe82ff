"""What `fit` costs beside a loop written by hand around the same compiled step."""

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import _processes, whole_step

BY_HAND, BY_FIT = "a loop by hand", "fit"
# Enough that what `fit` does once weighs little, as in an epoch of a real data set.
STEPS = 128
# A batch whose step takes 20 ms and more.
NETWORK, BATCH = "mnist", 128


def make(way: str) -> Callable[[], Any]:
    """An epoch of `STEPS` steps on random pixels, for a worker."""
    import keras
    import numpy as np

    model = whole_step.build(NETWORK)
    images = np.random.default_rng(0).random((STEPS * BATCH, *model.image_shape), dtype="float32")
    model.compile(keras.optimizers.Adam(1e-3))
    model.train_on_batch(images[:BATCH])  # which also measures nothing but builds all there is
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
    """Measures; two rows a backend, with the time of a step."""
    for name, backend in _processes.BACKENDS.items():
        tasks = {way: ({"of": "fit_overhead", "way": way}, backend) for way in (BY_HAND, BY_FIT)}
        found = _processes.race(tasks, rounds, threads)
        for way, turns in found.items():
            row = _processes.as_row(turns, found[BY_HAND], "times the loop by hand")
            if "ms" in row:
                row["ms"] /= STEPS
            yield f"{name}: {way}", row
