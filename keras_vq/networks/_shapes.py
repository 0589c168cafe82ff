"""Checks of what the builders of networks are given."""

from collections.abc import Sequence
from typing import Any

from keras_vq import _validation


class IndivisibleSizeError(ValueError):
    """The strides of a network do not divide the size of the images."""


def check_image_shape(image_shape: Any, strides: int) -> tuple[int, int, int]:
    """The shape as (height, width, channels) if the product of the strides divides it.

    Raises:
        IndivisibleSizeError: If it doesn't.
        ValueError: If it isn't such a shape.
    """
    try:
        height, width, channels = (int(size) for size in image_shape)
    except (TypeError, ValueError):
        height = width = channels = 0
    if min(height, width, channels) < 1:
        raise ValueError(
            "`image_shape` must be (height, width, channels), all at least 1. "
            f"Received: {image_shape!r}"
        )
    if height % strides or width % strides:
        raise IndivisibleSizeError(
            f"Height and width must be divisible by {strides}, the product of the strides: "
            f"resize or pad the images to {_next_multiple(height, strides)} x "
            f"{_next_multiple(width, strides)}, or use fewer strided layers. "
            f"Received: image_shape={tuple(image_shape)}"
        )
    return height, width, channels


def check_sequence_shape(sequence_shape: Any, divisor: int) -> tuple[int, int]:
    """The shape as (steps, channels) if the divisor divides the steps.

    Raises:
        IndivisibleSizeError: If it doesn't.
        ValueError: If it isn't such a shape.
    """
    _validation.check_positive_integer("patch", divisor)
    try:
        steps, channels = (int(size) for size in sequence_shape)
    except (TypeError, ValueError):
        steps = channels = 0
    if min(steps, channels) < 1:
        raise ValueError(
            "`sequence_shape` must be (steps, channels), both at least 1. "
            f"Received: {sequence_shape!r}"
        )
    if steps % divisor:
        raise IndivisibleSizeError(
            f"The steps must be divisible by {divisor}: pad the sequences to "
            f"{_next_multiple(steps, divisor)} steps. Received: {steps}"
        )
    return steps, channels


def check_widths(name: str, widths: Sequence[int]) -> tuple[int, ...]:
    """The widths of successive layers, at least one of them.

    Raises:
        ValueError: If there is none, or one is not a whole number above zero.
    """
    if isinstance(widths, str) or not hasattr(widths, "__iter__") or not list(widths):
        raise ValueError(
            f"`{name}` must be a sequence of whole numbers, one a layer. Received: {widths!r}"
        )
    return tuple(_validation.check_positive_integer(f"{name}[...]", width) for width in widths)


def _next_multiple(size: int, divisor: int) -> int:
    return -(-size // divisor) * divisor
