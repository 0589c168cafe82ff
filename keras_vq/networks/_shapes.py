"""Checks of what the builders of networks are given."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import layers

from keras_vq import _validation
from keras_vq.layers.edge_padding import EdgePadding


class IndivisibleSizeError(ValueError):
    """The strides of a network do not divide the size of the images."""


def check_image_shape(image_shape: Any, strides: int, pad: bool = False) -> tuple[int, int, int]:
    """Returns (height, width, channels) if the product of the strides divides height and width.

    Args:
        image_shape: The shape to check.
        strides: Product of the strides.
        pad: Whether the network pads images that the strides do not divide.

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
    if not pad and (height % strides or width % strides):
        raise IndivisibleSizeError(
            f"Height and width must be divisible by {strides}, the product of the strides: "
            f"let the network pad the images to {_next_multiple(height, strides)} x "
            f"{_next_multiple(width, strides)} and crop its outputs with `pad=True`, resize the "
            "images, or use fewer strided layers. "
            f"Received: image_shape={tuple(image_shape)}"
        )
    return height, width, channels


def check_sequence_shape(sequence_shape: Any, divisor: int, pad: bool = False) -> tuple[int, int]:
    """Returns (steps, channels) if the divisor divides the steps.

    Args:
        sequence_shape: The shape to check.
        divisor: Steps for each latent.
        pad: Whether the network pads sequences that the divisor does not divide.

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
    if not pad and steps % divisor:
        raise IndivisibleSizeError(
            f"The steps must be divisible by {divisor}: let the network pad the sequences to "
            f"{_next_multiple(steps, divisor)} steps and crop its outputs with `pad=True`. "
            f"Received: {steps}"
        )
    return steps, channels


class Padding(NamedTuple):
    """Layers that pad inputs to a multiple of the strides, and crop the outputs."""

    sizes: tuple[int, ...]  # after padding
    pad: list[Any]  # of the encoder: one layer, or none where the strides divide the sizes
    crop: list[Any]  # of the decoder


def padding_to_multiple(sizes: tuple[int, ...], divisor: int) -> Padding:
    """Returns the layers that pad axes to a multiple of a divisor, and crop them.

    Args:
        sizes: Size of each padded axis: (steps,) or (height, width).
        divisor: Product of the strides.
    """
    extra = [_next_multiple(size, divisor) - size for size in sizes]
    if not any(extra):
        return Padding(sizes, [], [])
    amounts = tuple((more // 2, more - more // 2) for more in extra)
    if len(sizes) == 1:
        crop = layers.Cropping1D(amounts[0])
    else:
        crop = layers.Cropping2D(amounts, data_format="channels_last")
    padded = tuple(size + more for size, more in zip(sizes, extra, strict=True))
    return Padding(padded, [EdgePadding(amounts)], [crop])


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
