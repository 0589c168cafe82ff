"""Arrays and data sets, in every form in which users pass them."""

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _backend

# Neither TensorFlow nor PyTorch is imported to recognize their data sets: both are iterable.
SOURCES = (
    "an array, a `keras.utils.PyDataset`, a `tf.data.Dataset`, a PyTorch `DataLoader`, or a data "
    "set of `keras_vq.data`"
)


def is_array(value: Any) -> bool:
    """Returns whether a value is a NumPy array or a tensor of the running backend."""
    return isinstance(value, np.ndarray) or ops.is_tensor(value)


def is_data_set(value: Any) -> bool:
    """Returns whether a value yields batches, rather than being an array or nested lists."""
    if is_array(value) or hasattr(value, "__array__") or isinstance(value, list | tuple):
        return False
    return not isinstance(value, str | bytes | dict | keras.Model) and (
        isinstance(value, keras.utils.PyDataset) or hasattr(value, "__iter__") or has_batches(value)
    )


def has_batches(value: Any) -> bool:
    """Returns whether a value is an `ImageDataset` or another object with a method `batches`."""
    return callable(getattr(value, "batches", None))


def is_read_once(value: Any) -> bool:
    """Returns whether a value is a generator or another iterator, which one pass uses up."""
    return isinstance(value, Iterator)


def for_keras(data: Any, batch_size: int | None = None, shuffle: bool = False) -> Any:
    """Returns data in a form that Keras's loops take: an `ImageDataset` as its batches.

    Args:
        data: Anything.
        batch_size: Rows of a batch of an `ImageDataset`, 32 when None.
        shuffle: Whether an `ImageDataset` has a new random order in each epoch.
    """
    if not has_batches(data):
        return data
    return data.batches(batch_size or 32, shuffle=bool(shuffle))


def batches_of(data: Any, batch_size: int | None = None) -> Iterator[Any]:
    """Yields the batches of a data set as they come: arrays, or tuples with targets or labels.

    Args:
        data: A data set.
        batch_size: Rows of a batch of an `ImageDataset`, 32 when None.
    """
    data = for_keras(data, batch_size)
    if isinstance(data, keras.utils.PyDataset):
        return (data[index] for index in range(data.num_batches or 0))
    return iter(_backend.not_tuned(data))


def inputs_of(data: Any, batch_size: int | None = None) -> Iterator[np.ndarray]:
    """Yields the inputs of each batch of a data set as NumPy arrays, without targets or labels."""
    for batch in batches_of(data, batch_size):
        yield to_numpy(keras.utils.unpack_x_y_sample_weight(batch)[0])


def with_labels(data: Any, labels: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the inputs of each batch of a data set, and appends the labels beside them to a list.

    Args:
        data: A data set of (input, label) batches; of one without labels the list stays empty.
        labels: List to fill, in the order of the inputs: one pass gives both, also of shuffled
            data.
    """
    if has_batches(data) and getattr(data, "labels", None) is not None:
        data = data.batches(with_labels=True)
    for batch in batches_of(data):
        inputs, found, _ = keras.utils.unpack_x_y_sample_weight(batch)
        if found is not None:
            labels.append(to_numpy(found))
        yield to_numpy(inputs)


def first_batch(data: Any) -> tuple[Any, Any]:
    """Returns the first batch of a data set, None if it is empty, and the data set unchanged.

    Args:
        data: A data set; a generator is returned with its first batch put back.
    """
    batches = batches_of(data)
    batch = next(batches, None)
    if is_read_once(data) and batch is not None:
        data = (each for each in itertools.chain([batch], batches))  # Keras asks for a generator
    return batch, data


def as_array(name: str, data: Any, rows: int | None = None) -> Any:
    """Returns an array or tensor as it is, and lists and data sets as one NumPy array.

    Args:
        name: Name of the argument in messages.
        data: An array, nested lists, or a data set, which is read into memory.
        rows: Number of rows after which the rest of a data set is not read; None reads it whole.

    Raises:
        ValueError: If the data are none of these, or of unequal shapes.
    """
    if is_array(data):
        return data
    try:
        if is_data_set(data):
            return _joined(inputs_of(data), rows)
        array = np.asarray(data)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        hint = ""
        if isinstance(data, tuple):
            hint = ". Of a pair (inputs, labels), pass the inputs alone"
        raise ValueError(f"`{name}` must be {SOURCES}{hint}. Received: {type(data).__name__}")
    return array


def _joined(batches: Iterator[np.ndarray], rows: int | None) -> np.ndarray:
    parts: list[np.ndarray] = []
    count = 0
    for batch in batches:
        parts.append(batch)
        count += len(batch)
        if rows is not None and count >= rows:
            break
    return np.concatenate(parts) if parts else np.zeros((0,), "float32")


def to_numpy(batch: Any) -> np.ndarray:
    """Returns a batch as a NumPy array, whichever library's tensor it is."""
    if ops.is_tensor(batch):
        return np.asarray(ops.convert_to_numpy(batch))
    # A tf.data.Dataset yields TensorFlow's tensors under every backend.
    return np.asarray(batch.numpy() if hasattr(batch, "numpy") else batch)
