"""Checks of inputs, latents and codes that are passed to a model."""

from typing import Any

import numpy as np
from keras import ops

from keras_vq._types import Shape

# Rows per block, which bounds the memory use of a check.
_ROWS = 4096

# Ends of the error message of `check_shape`.
DECODER_OUTPUTS = "of the decoder outputs"
DECODER_INPUTS = "of the decoder inputs"


def check_inputs(
    inputs: Any, expected: Shape | None, name: str, is_batch: bool = False
) -> tuple[float, float]:
    """Checks the shape and the values of an array of inputs or targets.

    Args:
        inputs: NumPy array or tensor of shape `(n, ...)`.
        expected: Shape of one input, with `None` for an axis of any size. If it is `None`, the
            shape is not checked.
        name: Name of the argument in error messages.
        is_batch: Boolean. Whether the array is a batch of a data set, for the hint of the error
            message. Defaults to `False`.

    Returns:
        Tuple of the minimum and the maximum value.

    Raises:
        ValueError: If the array contains NaN or infinity, or has another shape.
    """
    check_shape(tuple(inputs.shape), expected, name, is_batch=is_batch)
    return check_values(inputs, name)


def check_values(array: Any, name: str) -> tuple[float, float]:
    """Checks that all values of an array are finite, in bounded memory; the array may be empty.

    Args:
        array: NumPy array or tensor of shape `(n, ...)`.
        name: Name of the argument in error messages.

    Returns:
        Tuple of the minimum and the maximum value; `(0.0, 0.0)` for an empty array.

    Raises:
        ValueError: If the array is a scalar, or contains NaN or infinity.
    """
    shape = tuple(array.shape)
    if not shape:
        raise ValueError(f"`{name}` must be an array of shape (n, ...). Received: shape {shape}")
    if shape[0] == 0:
        return 0.0, 0.0
    least, greatest = float("inf"), -float("inf")
    for start in range(0, shape[0], _ROWS):
        rows = np.asarray(ops.convert_to_numpy(array[start : start + _ROWS]))
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            first = start + int(np.argmin(np.isfinite(rows).reshape(len(rows), -1).all(axis=1)))
            raise ValueError(
                f"`{name}` must be finite. Remove the NaN or infinite values. Received: a NaN or "
                f"infinite value, the first at index {first}"
            )
        least, greatest = min(least, float(rows.min())), max(greatest, float(rows.max()))
    return least, greatest


def check_not_empty(array: Any, name: str) -> None:
    """Checks that an array has at least one row.

    Raises:
        ValueError: If it has none.
    """
    shape = tuple(array.shape)
    if not shape or shape[0] == 0:
        raise ValueError(
            f"`{name}` must be an array of shape (n, ...) with n >= 1, but is empty. "
            f"Received: shape {shape}"
        )


def check_shape(
    shape: Shape,
    expected: Shape | None,
    name: str,
    origin: str = "of the model inputs",
    has_hint: bool = True,
    is_batch: bool = False,
) -> None:
    """Checks the static shape of a batch of inputs, latents or codes.

    Args:
        shape: Shape of the batch.
        expected: Shape of one row, with `None` for an axis of any size. If it is `None`, nothing
            is checked.
        name: Name of the argument in error messages.
        origin: Relative clause of the error message that names the origin of `expected`.
        has_hint: Boolean. Whether the error message has hints on the first and the last axis.
            Defaults to `True`.
        is_batch: Boolean. Whether the array is a batch of a data set. Defaults to `False`.

    Raises:
        ValueError: If the shape differs from `(n, *expected)`.
    """
    if expected is None:
        return
    fits = len(shape) == len(expected) + 1 and all(
        want is None or have is None or want == have
        for have, want in zip(shape[1:], expected, strict=True)
    )
    if not fits:
        hint = _hint(shape, expected, is_batch) if has_hint else ""
        raise ValueError(
            f"`{name}` must have the shape (n, {_readable(expected)}) {origin}{hint}. "
            f"Received: shape {tuple(shape)}"
        )


def variance(array: Any) -> float:
    """Computes the variance of all values of an array, in float64 and bounded memory."""
    count, mean, squares = 0, 0.0, 0.0
    for start in range(0, array.shape[0], _ROWS):
        rows = np.asarray(ops.convert_to_numpy(array[start : start + _ROWS]), dtype="float64")
        # Chan et al., 1979: a stable update of the mean and the sum of squares.
        step, total = rows.mean() - mean, count + rows.size
        squares += ((rows - rows.mean()) ** 2).sum() + step**2 * count * rows.size / total
        mean += step * rows.size / total
        count = total
    return squares / count


def _readable(shape: Shape) -> str:
    return ", ".join("any" if size is None else str(size) for size in shape)


def _hint(shape: Shape, expected: Shape, is_batch: bool) -> str:
    if len(shape) == len(expected) + 1 and shape[-1] != expected[-1]:
        return f". The last axis has size {shape[-1]}, not {expected[-1]}"
    if len(shape) != len(expected):
        return ""
    batch = "Batch the data set (`dataset.batch(64)`)" if is_batch else "Add a batch axis (x[None])"
    return f". {batch}" + (" or a last axis of size 1 (x[..., None])" if expected[-1] == 1 else "")
