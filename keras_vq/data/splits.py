"""Parsing of split names with slices, such as "train[:1000]" and "train[10%:20%]"."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPLIT = re.compile(r"(?P<name>[^\[\]+]+)(\[(?P<start>[^:\]]*):(?P<stop>[^:\]]*)\])?")
_BOUNDARY = re.compile(r"(?P<number>-?\d+)(?P<percent>%?)")


class UnknownSplitError(ValueError):
    """Error for a split that a data set does not have.

    Example:
        >>> import keras_vq
        >>> try:
        ...     keras_vq.data.load("digits", "validation")
        ... except keras_vq.data.UnknownSplitError as error:
        ...     print(error)
        `split` must be one of 'train', 'test'. Received: split='validation' ...
    """


def split_name(split: str) -> str:
    """Returns the name of a split without its slice: "train" for "train[:1000]".

    Raises:
        ValueError: If `split` is neither a name nor a name with a slice.
    """
    match = _SPLIT.fullmatch(split.strip()) if isinstance(split, str) else None
    if match is None:
        raise ValueError(
            '`split` must be a name such as "train", or a name with a slice such as '
            f'"train[:1000]", "train[10%:20%]" or "test[-100:]". Received: {split!r}'
        )
    return match["name"].strip()


def split_range(split: str, length: int) -> range:
    """Returns the range of indices that the slice selects from `length` images.

    Boundaries follow the rules of Python slices. Percentages of the length are rounded to the
    nearest integer, as in TFDS.

    Raises:
        ValueError: If a boundary is invalid, or the slice is empty.
    """
    name = split_name(split)
    match = _SPLIT.fullmatch(split.strip())
    assert match is not None, name
    start, stop = (_boundary(match[part], length, split) for part in ("start", "stop"))
    selected = range(length)[start:stop]
    if not selected:
        raise ValueError(
            f"The slice of `split` must not be empty: {name!r} has {length:,} images. "
            f"Received: split={split!r}"
        )
    return selected


def check_split(split: str, available: Sequence[str], owner: str) -> str:
    """Returns the name of a split without its slice, after a check that the split exists.

    Args:
        split: String. Name of the split, with an optional slice.
        available: Sequence of strings. Names of the splits of the data set.
        owner: String. Name of the data set in error messages.

    Raises:
        UnknownSplitError: If the name is not in `available`.
        ValueError: If `split` is neither a name nor a name with a slice.
    """
    name = split_name(split)
    if name not in available:
        known = ", ".join(repr(known) for known in available)
        raise UnknownSplitError(
            f"`split` must be one of {known}. Received: split={split!r} for {owner}"
        )
    return name


def _boundary(text: str | None, length: int, split: str) -> int | None:
    if text is None or not text.strip():
        return None
    match = _BOUNDARY.fullmatch(text.strip())
    if match is None or (match["percent"] and abs(int(match["number"])) > 100):
        raise ValueError(
            "The boundaries of a slice must be integers or percentages from -100% to 100%. "
            f"Received: split={split!r}"
        )
    number = int(match["number"])
    return round(number * length / 100) if match["percent"] else number
