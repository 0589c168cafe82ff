"""Checks of arguments, with errors that say what was expected and what came."""

import math
from typing import Any


def check_positive_integer(name: str, value: Any) -> int:
    """The value as an int if it is a whole number above zero.

    Raises:
        ValueError: If it isn't.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"`{name}` must be a whole number of at least 1. Received: {value!r}")
    return int(value)


def check_not_negative(name: str, value: Any) -> float:
    """The value as a float if it is a finite number of at least zero.

    Raises:
        ValueError: If it isn't.
    """
    if not _is_number(value) or not math.isfinite(value) or value < 0:
        raise ValueError(f"`{name}` must be a finite number of at least 0. Received: {value!r}")
    return float(value)


def check_positive(name: str, value: Any) -> float:
    """The value as a float if it is a finite number above zero.

    Raises:
        ValueError: If it isn't.
    """
    if not _is_number(value) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"`{name}` must be a finite number above 0. Received: {value!r}")
    return float(value)


def check_fraction(name: str, value: Any) -> float:
    """The value as a float if it is in [0, 1).

    Raises:
        ValueError: If it isn't.
    """
    if not _is_number(value) or not 0 <= value < 1:
        raise ValueError(f"`{name}` must be a number in [0, 1). Received: {value!r}")
    return float(value)


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    """The value if it is one of the choices.

    Raises:
        ValueError: If it isn't.
    """
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {value!r}")
    return value


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__float__")
