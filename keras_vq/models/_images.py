"""Checks of the images a model is given, before they can spoil it."""

from typing import Any

import numpy as np
from keras import ops

from keras_vq._types import Shape

# Rows looked at together: bounds the memory that a check takes.
_ROWS = 4096


def check_images(images: Any, expected: Shape | None, name: str) -> tuple[float, float]:
    """Checks an array of inputs or targets as a whole.

    Args:
        images: NumPy array or tensor of shape `(n, ...)`.
        expected: Shape of one input, None where any size will do; or None.
        name: What to call the argument in messages.

    Returns:
        The least and the greatest value.

    Raises:
        ValueError: If it holds NaN or infinity, or inputs of another shape.
    """
    check_image_shape(tuple(images.shape), expected, name)
    return check_values(images, name)


def check_values(array: Any, name: str) -> tuple[float, float]:
    """Checks that an array has rows of finite values, in bounded memory; it may have no rows.

    Args:
        array: NumPy array or tensor of shape `(n, ...)`.
        name: What to call the argument in messages.

    Returns:
        The least and the greatest value; 0 and 0 if there is none.

    Raises:
        ValueError: If it is a scalar, or holds NaN or infinity.
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
                f"`{name}` holds values that are NaN or infinite, which would spoil all that is "
                f"computed from them: clean or leave them out. Received: the first at index {first}"
            )
        least, greatest = min(least, float(rows.min())), max(greatest, float(rows.max()))
    return least, greatest


def check_not_empty(array: Any, name: str) -> None:
    """Checks that an array has rows.

    Raises:
        ValueError: If it has none.
    """
    shape = tuple(array.shape)
    if not shape or shape[0] == 0:
        raise ValueError(
            f"`{name}` is empty: expected an array of shape (n, ...) with n >= 1. "
            f"Received: shape {shape}"
        )


def check_image_shape(
    shape: Shape,
    expected: Shape | None,
    name: str,
    because: str = "the model was built for",
    is_image: bool = True,
) -> None:
    """Checks the static shape of a batch of images, or of their latents or codes.

    Args:
        shape: The shape.
        expected: Shape of one image, None where any size will do; or None.
        name: What to call the argument in messages.
        because: Whose demand it is.
        is_image: False leaves out hints on channels.

    Raises:
        ValueError: If its images have another shape than the expected one.
    """
    if expected is None:
        return
    fits = len(shape) == len(expected) + 1 and all(
        want is None or have is None or want == have
        for have, want in zip(shape[1:], expected, strict=True)
    )
    if not fits:
        raise ValueError(
            f"`{name}` must have the shape (n, {_readable(expected)}) that {because}"
            f"{_hint(shape, expected) if is_image else ''}. Received: shape {tuple(shape)}"
        )


def variance(images: Any) -> float:
    """Variance of all pixels of an array, in double precision and bounded memory."""
    count, mean, squares = 0, 0.0, 0.0
    for start in range(0, images.shape[0], _ROWS):
        rows = np.asarray(ops.convert_to_numpy(images[start : start + _ROWS]), dtype="float64")
        # Chan et al., 1979: joins the moments of two parts without loss of digits.
        step, total = rows.mean() - mean, count + rows.size
        squares += ((rows - rows.mean()) ** 2).sum() + step**2 * count * rows.size / total
        mean += step * rows.size / total
        count = total
    return squares / count


def _readable(shape: Shape) -> str:
    return ", ".join("any" if size is None else str(size) for size in shape)


def _hint(shape: Shape, expected: Shape) -> str:
    if len(shape) == len(expected):
        return "; add a channel axis (x[..., None]) or a batch axis (x[None])"
    if len(shape) == len(expected) + 1 and shape[-1] != expected[-1]:
        return f"; its last axis has {shape[-1]} channels, not {expected[-1]}"
    return ""
