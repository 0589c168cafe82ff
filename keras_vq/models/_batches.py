"""A look at the batches of a data set, whatever brings them, without using them up."""

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops


def is_array(value: Any) -> bool:
    """Whether a value is a NumPy array or a tensor of the running backend."""
    return isinstance(value, np.ndarray) or ops.is_tensor(value)


def first_targets(x: Any, y: Any, batches: int) -> np.ndarray | Any | None:
    """The images that `fit(x, y)` is to make, as one array.

    Args:
        x: What `fit` is given: an array, or a data set that yields batches.
        y: Targets, or None.
        batches: Batches of a data set to look at; an array is returned whole.

    Returns:
        An array of shape `(n, ...)`, or None when `x` can be read only once.
    """
    target = x if y is None else y
    if is_array(target):
        return target
    targets = []
    for batch in itertools.islice(_batches(x), batches):
        images, target, _ = keras.utils.unpack_x_y_sample_weight(batch)
        targets.append(_to_numpy(images if target is None else target))
    return np.concatenate(targets) if targets else None


def _batches(data: Any) -> Iterator[Any]:
    if isinstance(data, keras.utils.PyDataset):
        return (data[index] for index in range(data.num_batches or 0))
    is_used_up_by_reading = isinstance(data, Iterator)
    return iter(()) if is_used_up_by_reading or not hasattr(data, "__iter__") else iter(data)


def _to_numpy(batch: Any) -> np.ndarray:
    # A tf.data set yields TensorFlow's tensors under every backend.
    return batch.numpy() if hasattr(batch, "numpy") else np.asarray(batch)
