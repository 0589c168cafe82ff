"""Code grids as inputs of priors: shapes, sizes, checks, and codes of model inputs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq._inputs import is_data_set, with_labels
from keras_vq._types import Tensor


def nats_of(logits: Sequence[Tensor], codes: Tensor) -> Tensor:
    """Computes the cross-entropy of each code, in nats.

    Args:
        logits: Sequence with one float tensor of shape `(..., size)` per codebook.
        codes: Int32 tensor of shape `(..., L)` for L codebooks.

    Returns:
        Float32 tensor of shape `(..., L)`.
    """
    stages = [
        ops.sparse_categorical_crossentropy(codes[..., stage], of_stage, from_logits=True)
        for stage, of_stage in enumerate(logits)
    ]
    return ops.stack(stages, axis=-1)


def as_plane(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns (height, width) of a grid with all but its last axis merged."""
    return math.prod(shape[:-1]), shape[-1]


def encoded(vqvae: Any, inputs: Any, labels: Any = None, *, takes_labels: bool) -> tuple[Any, Any]:
    """Encodes inputs to codes, and returns the codes and labels.

    Args:
        vqvae: A model with a method `encode`.
        inputs: Array, or data set.
        labels: Integer array of shape `(n,)`, or None. Defaults to None.
        takes_labels: Boolean. Whether to take the labels of a data set if `labels` is None.

    Returns:
        Tuple of the codes and the labels; the labels may be None.
    """
    if labels is not None or not takes_labels or not is_data_set(inputs):
        return vqvae.encode(inputs), labels
    found: list[np.ndarray] = []
    codes = vqvae.encode(with_labels(inputs, found))
    return codes, np.concatenate(found) if found else None


def codes_of(quantizer: Any, code_shape: Any) -> tuple[int | tuple[int, ...], tuple[int, ...]]:
    """Returns the codebook size or sizes of a quantizer, and the shape of its code grid.

    Args:
        quantizer: A `Quantizer`.
        code_shape: Tuple of integers. Shape of the codes of one input. Unknown if it is None or
            contains None.

    Raises:
        ValueError: If the shape is unknown.
    """
    if code_shape is None or None in tuple(code_shape):
        raise ValueError(
            "The code shape of the model must be known. Add an Input of fixed shape to the "
            f"encoder, and fit the model or call it on a batch. Received: code_shape={code_shape}"
        )
    shape, sizes = tuple(code_shape), tuple(quantizer.codebook_sizes)
    if quantizer.code_shape:
        return sizes, shape[: -len(quantizer.code_shape)]
    return sizes[0], shape


def checked_sizes(name: str, value: Any) -> tuple[int | tuple[int, ...], tuple[int, ...]]:
    """Validates codebook sizes, and returns them as an integer or a tuple, and as a tuple."""
    if not hasattr(value, "__iter__"):
        size = _validation.check_positive_integer(name, value)
        return size, (size,)
    sizes = tuple(_validation.check_positive_integer(f"{name}[...]", size) for size in value)
    if not sizes:
        raise ValueError(f"`{name}` must have at least one entry. Received: {value!r}")
    return sizes, sizes


def with_stages(grid: tuple[int, ...], size: int | tuple[int, ...]) -> tuple[int, ...]:
    """Returns the code shape: the grid, with an axis for several codebooks if `size` is a tuple."""
    return grid if isinstance(size, int) else (*grid, len(size))


def checked_grid(name: str, value: Any) -> tuple[int, ...]:
    if not hasattr(value, "__iter__") or not list(value):
        raise ValueError(f"`{name}` must be a shape such as (7, 7). Received: {value!r}")
    return tuple(_validation.check_positive_integer(f"{name}[...]", size) for size in value)


def check_divides(coarse: tuple[int, ...], fine: tuple[int, ...]) -> None:
    pairs = zip(coarse, fine, strict=False)
    if len(coarse) != len(fine) or any(size % part for part, size in pairs):
        raise ValueError(
            "`condition_shape` must have as many axes as `grid_shape`, and divide each of them. "
            f"Received: {coarse} and {fine}"
        )
    if any(part != size for part, size in zip(coarse[:-2], fine[:-2], strict=True)):
        raise ValueError(
            "`condition_shape` must equal `grid_shape` except in the last two axes. "
            f"Received: {coarse} and {fine}"
        )


def checked_codes(
    name: str, codes: Any, shape: tuple[int, ...], sizes: tuple[int, ...], n: int | None = None
) -> np.ndarray:
    """Returns codes as an int32 array after checking their shape and range."""
    codes = np.asarray(None if codes is None else ops.convert_to_numpy(codes))
    is_right = codes.dtype.kind in "iu" and codes.shape[1:] == shape and codes.ndim > 0
    if not is_right or (n is not None and len(codes) != n):
        raise ValueError(
            f"`{name}` must be integers of shape ({'n' if n is None else n}, "
            f"{', '.join(map(str, shape))}). "
            f"Received: {codes.dtype} values of shape {codes.shape}"
        )
    return _validation.check_codes(name, codes, sizes)


def check_rows(rows: np.ndarray) -> None:
    """Checks that there is at least one row."""
    if len(rows) == 0:
        raise ValueError(
            "`codes` must have at least one row. Check that the array or data set of inputs is not "
            "empty. Received: no rows"
        )


def filled_up(inputs: dict[str, np.ndarray], n: int, batch_size: int) -> dict[str, np.ndarray]:
    """Repeats rows to fill the last batch, so that all batches share one compiled function."""
    missing = -n % min(n, batch_size)
    rows = np.concatenate([np.arange(n), np.arange(missing)])
    return {name: values[rows] for name, values in inputs.items()} if missing else inputs
