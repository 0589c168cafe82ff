"""Mixed precision: cost of a training step and share of changed codes."""

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import _processes, whole_step

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
IMAGES = 512


def make(network: str, batch: int, policy: str) -> Callable[[], Any]:
    """Builds a `train_on_batch` call on random pixels with a dtype policy, for a worker."""
    import keras

    keras.config.set_dtype_policy(policy)
    return whole_step.make(network, batch, "auto")


def share_of_other_codes(network: str, policy: str) -> float:
    """Computes the percentage of codes that differ from those of the float32 model.

    The model is trained for a few steps on scikit-learn's digits in float32. Its codebook is then
    re-initialized by k-means on the latents, so that all codes are in use. Both models share
    weights.
    """
    import keras
    import numpy as np

    import keras_vq

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    model = whole_step.build(network)
    height, width, channels = model.input_shape[1:]
    digits = keras_vq.data.load("digits", "train").take(IMAGES).images
    large = digits.repeat(height // 8, axis=1).repeat(width // 8, axis=2)
    missing = [(0, 0), (0, height - large.shape[1]), (0, width - large.shape[2]), (0, 0)]
    images = np.pad(large, missing).repeat(channels, axis=-1)
    model.compile(keras.optimizers.Adam(1e-3))
    model.fit(images, batch_size=64, epochs=2, verbose=0)
    model.adapt(images, "kmeans")
    keras.config.set_dtype_policy(policy)
    other = whole_step.build(network)
    other.set_weights(model.get_weights())
    keras.config.set_dtype_policy("float32")
    differ = other.encode(images) != model.encode(images)
    return 100 * float(np.mean(differ))


def rows(rounds: int, threads: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields a row per network, backend and dtype policy."""
    for title, (network, batch) in whole_step.NETWORKS.items():
        for name, backend in _processes.BACKENDS.items():
            tasks = {
                policy: (
                    {"of": "precision", "network": network, "batch": batch, "policy": policy},
                    backend,
                )
                for policy in POLICIES
            }
            found = _processes.race(tasks, rounds, threads)
            for policy, turns in found.items():
                row = _processes.as_row(turns, found["float32"], "times float32")
                if policy != "float32" and isinstance(turns, _processes.Turns):
                    question = f"precision.share_of_other_codes({network!r}, {policy!r})"
                    row["codes that are others, %"] = _processes.answer(question, backend, threads)
                yield f"{title}: {name}, {policy}", row
