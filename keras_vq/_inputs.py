"""Conversion of arrays and data sets of all supported types."""

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import backend

# Data sets of TensorFlow and PyTorch are recognized as iterables, without importing either.
SOURCES = (
    "an array, a `keras.utils.PyDataset`, a `tf.data.Dataset`, a PyTorch `DataLoader`, or a data "
    "set of `keras_vq.data`"
)


def is_array(value: Any) -> bool:
    """Returns whether a value is a NumPy array or a tensor of the running backend."""
    return isinstance(value, np.ndarray) or ops.is_tensor(value)


def is_data_set(value: Any) -> bool:
    """Returns whether a value yields batches, and is not an array or nested lists."""
    if is_array(value) or hasattr(value, "__array__") or isinstance(value, list | tuple):
        return False
    return not isinstance(value, str | bytes | dict | keras.Model) and (
        isinstance(value, keras.utils.PyDataset) or hasattr(value, "__iter__") or has_batches(value)
    )


def has_batches(value: Any) -> bool:
    """Returns whether a value is an `ImageDataset` or another object with a method `batches`."""
    return callable(getattr(value, "batches", None))


def is_read_once(value: Any) -> bool:
    """Returns whether a value is a generator or another iterator, which can be read only once."""
    return isinstance(value, Iterator)


def for_keras(data: Any, batch_size: int | None = None, shuffle: bool = False) -> Any:
    """Converts an `ImageDataset` to batches for Keras; returns other data unchanged.

    Args:
        data: Array, data set, or any other value.
        batch_size: Integer. Batch size for an `ImageDataset`; `None` uses 32. Defaults to `None`.
        shuffle: Boolean. Whether an `ImageDataset` is reshuffled in each epoch. Defaults to
            `False`.
    """
    if not has_batches(data):
        return data
    return data.batches(batch_size or 32, shuffle=bool(shuffle))


def batches_of(data: Any, batch_size: int | None = None) -> Iterator[Any]:
    """Returns an iterator over the batches of a data set: arrays, or tuples with targets or labels.

    Args:
        data: Data set.
        batch_size: Integer. Batch size for an `ImageDataset`; `None` uses 32. Defaults to `None`.
    """
    data = for_keras(data, batch_size)
    if isinstance(data, keras.utils.PyDataset):
        return (data[index] for index in range(data.num_batches or 0))
    return iter(backend.without_autotune(data))


def inputs_of(data: Any, batch_size: int | None = None, name: str = "x") -> Iterator[np.ndarray]:
    """Yields the inputs of each batch of a data set as NumPy arrays, without targets or labels."""
    for batch in batches_of(data, batch_size):
        yield to_numpy(keras.utils.unpack_x_y_sample_weight(batch)[0], name)


def with_labels(data: Any, labels: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the inputs of each batch of a data set, and appends its labels to a list.

    A single pass reads both, so that labels match the inputs of shuffled data too.

    Args:
        data: Data set of batches of (inputs, labels). Without labels the list is not changed.
        labels: List to which the labels of each batch are appended.
    """
    if has_batches(data) and getattr(data, "labels", None) is not None:
        data = data.batches(with_labels=True)
    for batch in batches_of(data):
        inputs, found, _ = keras.utils.unpack_x_y_sample_weight(batch)
        if found is not None:
            labels.append(to_numpy(found, "labels"))
        yield to_numpy(inputs, "inputs")


def first_batch(data: Any) -> tuple[Any, Any]:
    """Returns the first batch of a data set, or `None` if it is empty, and the data set.

    Args:
        data: Data set. An iterator is replaced by a generator that starts with the first batch.
    """
    batches = batches_of(data)
    batch = next(batches, None)
    if is_read_once(data) and batch is not None:
        data = (each for each in itertools.chain([batch], batches))  # Keras requires a generator
    return batch, data


def as_array(name: str, data: Any, rows: int | None = None) -> Any:
    """Converts nested lists and data sets to one NumPy array; returns arrays and tensors unchanged.

    Args:
        name: String. Name of the argument in error messages.
        data: Array, nested lists, or a data set, which is read into memory.
        rows: Integer. Number of rows after which reading of a data set stops, at the end of a
            batch; `None` reads all. Defaults to `None`.

    Raises:
        ValueError: If the data have another type, or batches or rows of different shapes.
    """
    if is_array(data):
        return data
    # Read before the `try`, which would hide the errors of a data set.
    parts = _read(inputs_of(data, name=name), rows) if is_data_set(data) else None
    try:
        array = np.asarray(data) if parts is None else np.concatenate(parts)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        hint = ""
        if isinstance(data, dict):
            hint = f". From a dictionary, pass one entry, such as `data[{_first_key(data)!r}]`"
        elif isinstance(data, tuple):
            hint = ". From a pair (inputs, labels), pass only the inputs"
        raise ValueError(f"`{name}` must be {SOURCES}{hint}. Received: {type(data).__name__}")
    return array


def _read(batches: Iterator[np.ndarray], rows: int | None) -> list[np.ndarray]:
    parts: list[np.ndarray] = []
    count = 0
    for batch in batches:
        parts.append(batch)
        count += len(batch)
        if rows is not None and count >= rows:
            break
    return parts or [np.zeros((0,), "float32")]


def check_not_nested(name: str, value: Any) -> None:
    """Checks that inputs or targets are not a dictionary, a list or a tuple.

    Args:
        name: String. Name of the argument in error messages.
        value: Inputs or targets, an array or a data set, or those of one batch.

    Raises:
        ValueError: If the value is one of them.
    """
    if isinstance(value, dict):
        raise ValueError(
            f"`{name}` must be arrays, not dictionaries. Pass one entry, such as "
            f"`{name}[{_first_key(value)!r}]`. For a `tf.data.Dataset`, map each example to one "
            f"entry: `dataset.map(lambda example: example[{_first_key(value)!r}])`. "
            f"Received: a dictionary with the keys {list(value)}"
        )
    if isinstance(value, list | tuple):
        raise ValueError(
            f"`{name}` must be one array, not a {type(value).__name__} of arrays. Stack arrays of "
            f"the same shape: `np.stack({name})`. Received: a {type(value).__name__} of length "
            f"{len(value)}"
        )


def _first_key(entries: dict[Any, Any]) -> Any:
    return next(iter(entries), "key")


def to_numpy(batch: Any, name: str = "x") -> np.ndarray:
    """Converts a batch to a NumPy array from the tensor type of any library.

    Args:
        batch: Array, tensor of any library, or nested lists.
        name: String. Name of the batch in error messages. Defaults to `"x"`.

    Raises:
        ValueError: If the batch is a dictionary.
    """
    if isinstance(batch, dict):
        check_not_nested(name, batch)
    if ops.is_tensor(batch):
        return np.asarray(ops.convert_to_numpy(batch))
    # A `tf.data.Dataset` yields TensorFlow tensors on every backend.
    return np.asarray(batch.numpy() if hasattr(batch, "numpy") else batch)
