"""Targets of the first batches of a dataset."""

import itertools
from typing import Any

import keras
import numpy as np

from keras_vq import _inputs
from keras_vq._inputs import is_array
from keras_vq._types import Shape

__all__ = ["check_not_labels", "first_targets", "is_array"]


def first_targets(x: Any, y: Any, batches: int) -> np.ndarray | Any | None:
    """Returns the targets of `fit(x, y)` as one array.

    Args:
        x: Argument of `fit`: an array, or a dataset that yields batches.
        y: Targets, or `None` if they are the inputs or part of the dataset.
        batches: Integer. Maximum number of batches to read from a dataset; arrays are returned
            whole.

    Returns:
        An array of shape `(n, ...)`, or `None` if `x` is empty or can be read only once.

    Raises:
        ValueError: If the targets are labels, or if inputs or targets are dictionaries, lists or
            tuples.
    """
    _inputs.check_not_nested("x", x)
    _inputs.check_not_nested("y", y)
    target = x if y is None else y
    if is_array(target):
        if is_array(x):
            check_not_labels(y, tuple(x.shape))
        return target
    if not _inputs.is_data_set(x) or _inputs.is_read_once(x):
        return None
    targets = []
    for batch in itertools.islice(_inputs.batches_of(x), batches):
        inputs, target, _ = keras.utils.unpack_x_y_sample_weight(batch)
        _inputs.check_not_nested("x", inputs)
        _inputs.check_not_nested("y", target)
        check_not_labels(target, tuple(inputs.shape))
        targets.append(_inputs.to_numpy(inputs if target is None else target))
    return np.concatenate(targets) if targets else None


def check_not_labels(target: Any, made: Shape) -> None:
    """Checks that a batch of targets does not consist of labels.

    Args:
        target: Batch of targets, or `None`.
        made: Shape of the batch of reconstructions, or that of the inputs if the former is unknown.

    Raises:
        ValueError: If the targets have the shape of class indices or one-hot labels.
    """
    if target is None:
        return
    shape = tuple(target.shape)
    is_label = len(shape) == 1 or (len(shape) == 2 and (len(made) > 2 or shape[1] == 1))
    if is_label and shape[1:] != tuple(made[1:]):
        raise ValueError(
            "`y` must have the shape of the outputs; labels are not supported. "
            "Pass the inputs without labels: `dataset.map(lambda x, label: x)` for a "
            "`tf.data.Dataset` of (inputs, label) pairs, only the inputs for arrays and other data "
            f"sets. Received: y of shape {shape} and type {_type_of(target)}, for outputs of shape "
            f"{tuple(made)}"
        )


def _type_of(target: Any) -> str:
    return str(keras.backend.standardize_dtype(target.dtype)) if hasattr(target, "dtype") else "?"
