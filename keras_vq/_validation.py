"""Validation of arguments, with errors that state the expected and the received value."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def check_finite(name: str, value: Any) -> float:
    """Returns the value as a float if it is a finite number.

    Raises:
        ValueError: If the value is not a finite number.
    """
    if not _is_number(value) or not math.isfinite(value):
        raise ValueError(f"`{name}` must be a finite number. Received: {value!r}")
    return float(value)


def check_positive_integer(name: str, value: Any) -> int:
    """Returns the value as an int if it is a positive integer.

    Raises:
        ValueError: If the value is not an integer of at least 1.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"`{name}` must be a positive integer. Received: {value!r}")
    return int(value)


def check_not_negative(name: str, value: Any) -> float:
    """Returns the value as a float if it is a finite number of at least 0.

    Raises:
        ValueError: If the value is not a finite number of at least 0.
    """
    if not _is_number(value) or not math.isfinite(value) or value < 0:
        raise ValueError(f"`{name}` must be a finite non-negative number. Received: {value!r}")
    return float(value)


def check_positive(name: str, value: Any) -> float:
    """Returns the value as a float if it is a finite number above 0.

    Raises:
        ValueError: If the value is not a finite number above 0.
    """
    if not _is_number(value) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"`{name}` must be a finite positive number. Received: {value!r}")
    return float(value)


def check_fraction(name: str, value: Any) -> float:
    """Returns the value as a float if it is in [0, 1).

    Raises:
        ValueError: If the value is not a number in [0, 1).
    """
    if not _is_number(value) or not 0 <= value < 1:
        raise ValueError(f"`{name}` must be a number in [0, 1). Received: {value!r}")
    return float(value)


def check_probability(name: str, value: Any) -> float:
    """Returns the value as a float if it is in [0, 1].

    Raises:
        ValueError: If the value is not a number in [0, 1].
    """
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be a number in [0, 1]. Received: {value!r}")
    return float(value)


def check_count(name: str, value: Any) -> int:
    """Returns the value as an int if it is an integer of at least 0.

    Raises:
        ValueError: If the value is not an integer of at least 0.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 0:
        raise ValueError(f"`{name}` must be a non-negative integer. Received: {value!r}")
    return int(value)


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    """Returns the value if it is one of the choices.

    Raises:
        ValueError: If the value is not one of the choices.
    """
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {value!r}")
    return value


def check_codes(name: str, codes: Any, sizes: Sequence[int], least: int = 0) -> np.ndarray:
    """Returns codes as an int32 array of the same shape if they are valid for a quantizer.

    Args:
        name: String. Name of the argument in error messages.
        codes: Integer array. If there are several sizes, the last axis has one code per size.
        sizes: Sequence of integers. `codebook_sizes` of the quantizer.
        least: Integer. Smallest allowed code: 0, or -1 if masked positions are allowed. Defaults to
            0.

    Raises:
        ValueError: If codes are not integers or are out of range.
    """
    codes = np.asarray(codes)
    is_whole = codes.dtype.kind in "iu" and codes.size % len(sizes) == 0
    stages = codes.reshape(-1, len(sizes)) if is_whole else codes
    if not is_whole or (stages < least).any() or (stages >= np.asarray(sizes)).any():
        span = f"{codes.min()} to {codes.max()}" if codes.size else "no values"
        limit = " or ".join(str(size - 1) for size in dict.fromkeys(sizes))
        raise ValueError(
            f"`{name}` must be integers from 0 to {limit}{' (or -1)' if least < 0 else ''}. "
            f"Received: {codes.dtype} values, {span}, of shape {codes.shape}"
        )
    return codes.astype("int32")


def check_embeddings(
    embeddings: Any, codebook_size: int, dim: int | None = None, name: str = "embeddings"
) -> np.ndarray:
    """Returns code vectors as a float32 array of shape `(codebook_size, dim)`.

    Args:
        embeddings: Array.
        codebook_size: Integer. Number of code vectors.
        dim: Integer. Dimension of the code vectors; `None` allows any. Defaults to `None`.
        name: String. Name of the argument in error messages. Defaults to `"embeddings"`.

    Raises:
        ValueError: If the array has another shape or contains NaN or infinity.
    """
    embeddings = np.asarray(embeddings, dtype="float32")
    fits = embeddings.ndim == 2 and embeddings.shape[0] == codebook_size
    if not fits or dim not in (None, embeddings.shape[1]) or not np.isfinite(embeddings).all():
        raise ValueError(
            f"`{name}` must be a finite array of shape ({codebook_size}, "
            f"{'dim' if dim is None else dim}), one row per code vector. "
            f"Received: shape {embeddings.shape}, all finite: "
            f"{bool(np.isfinite(embeddings).all())}"
        )
    return embeddings


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__float__")
