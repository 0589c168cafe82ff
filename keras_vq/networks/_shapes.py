"""Validation and padding of the input shapes of network builders."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import layers

from keras_vq import _validation
from keras_vq.layers.edge_padding import EdgePadding


class IndivisibleSizeError(ValueError):
    """Error for an input size that the strides or the patch size of a network do not divide.

    Example:
        >>> import keras_vq
        >>> try:
        ...     keras_vq.networks.convolutional((30, 30, 1))
        ... except keras_vq.networks.IndivisibleSizeError as error:
        ...     print(error)
        Height and width must be divisible by 4, the product of the strides. ...
    """


def check_image_shape(image_shape: Any, strides: int, pad: bool = False) -> tuple[int, int, int]:
    """Returns (height, width, channels) after checking that the strides divide height and width.

    Args:
        image_shape: Shape to check.
        strides: Integer. Product of the strides.
        pad: Boolean. Whether the network pads images to a multiple of the strides. Defaults to
            False.

    Raises:
        IndivisibleSizeError: If `pad` is False and the strides do not divide height and width.
        ValueError: If `image_shape` is not such a shape.
    """
    try:
        height, width, channels = (int(size) for size in image_shape)
    except (TypeError, ValueError):
        height = width = channels = 0
    if min(height, width, channels) < 1:
        raise ValueError(
            "`image_shape` must be (height, width, channels), three positive integers. "
            f"Received: {image_shape!r}"
        )
    if not pad and (height % strides or width % strides):
        raise IndivisibleSizeError(
            f"Height and width must be divisible by {strides}, the product of the strides. "
            f"Pass `pad=True` to pad the images to {_next_multiple(height, strides)} x "
            f"{_next_multiple(width, strides)} and crop the outputs, resize the images, or use "
            "fewer strided layers. "
            f"Received: image_shape={tuple(image_shape)}"
        )
    return height, width, channels


def dynamic_image_shape(
    image_shape: Any, strides: int
) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
    """Returns the checked shape of images and of their latent map, where sizes may be `None`.

    Args:
        image_shape: Tuple (height, width, channels). `None` is a height or width of any size that
            the strides divide.
        strides: Integer. Product of the strides.

    Raises:
        IndivisibleSizeError: If the strides do not divide a known height or width.
        ValueError: If `image_shape` is not such a shape.
    """
    try:
        height, width, channels = image_shape
    except (TypeError, ValueError):
        height = width = channels = 0  # raises the error of `check_image_shape`
    known = (strides if size is None else size for size in (height, width))
    checked = check_image_shape((*known, channels), strides)
    shape = tuple(
        None if size is None else known
        for size, known in zip((height, width, channels), checked, strict=True)
    )
    return shape, tuple(None if size is None else size // strides for size in shape[:2])


def check_sequence_shape(sequence_shape: Any, divisor: int, pad: bool = False) -> tuple[int, int]:
    """Returns (steps, channels) after checking that the divisor divides the steps.

    Args:
        sequence_shape: Shape to check.
        divisor: Integer. Number of steps per latent vector.
        pad: Boolean. Whether the network pads sequences to a multiple of the divisor. Defaults to
            False.

    Raises:
        IndivisibleSizeError: If `pad` is False and the divisor does not divide the steps.
        ValueError: If `sequence_shape` is not such a shape.
    """
    _validation.check_positive_integer("patch", divisor)
    try:
        steps, channels = (int(size) for size in sequence_shape)
    except (TypeError, ValueError):
        steps = channels = 0
    if min(steps, channels) < 1:
        raise ValueError(
            "`sequence_shape` must be (steps, channels), two positive integers. "
            f"Received: {sequence_shape!r}"
        )
    if not pad and steps % divisor:
        raise IndivisibleSizeError(
            f"The number of steps must be divisible by {divisor}. Pass `pad=True` to pad the "
            f"sequences to {_next_multiple(steps, divisor)} steps and crop the outputs. "
            f"Received: {steps}"
        )
    return steps, channels


def dynamic_sequence_shape(
    sequence_shape: Any, strides: int
) -> tuple[tuple[int | None, int], int | None]:
    """Returns the checked shape of sequences and their number of frames, which may be `None`.

    Args:
        sequence_shape: Tuple (steps, channels). `None` is any number of steps.
        strides: Integer. Product of the strides.

    Raises:
        IndivisibleSizeError: If the strides do not divide a known number of steps.
        ValueError: If `sequence_shape` is not such a shape.
    """
    try:
        steps, channels = sequence_shape
    except (TypeError, ValueError):
        steps = channels = 0  # raises the error of `check_sequence_shape`
    known, channels = check_sequence_shape(
        (strides if steps is None else steps, channels), strides, pad=True
    )
    if known % strides:
        raise IndivisibleSizeError(
            f"The number of steps must be divisible by {strides}, the product of the strides, or "
            f"`None`, with which an incomplete last frame is padded. Received: {known}"
        )
    return (None, channels) if steps is None else (known, channels), (
        None if steps is None else known // strides
    )


class Padding(NamedTuple):
    """Layers that pad inputs to a multiple of the strides, and crop outputs to the input size."""

    sizes: tuple[int, ...]  # after padding
    pad: list[Any]  # encoder: one layer, or none if the strides divide the sizes
    crop: list[Any]  # decoder: one layer, or none


def padding_to_multiple(sizes: tuple[int, ...], divisor: int) -> Padding:
    """Returns layers that pad axes to a multiple of a divisor, and layers that crop them.

    Args:
        sizes: Tuple of integers. Size of each padded axis: (steps,) or (height, width).
        divisor: Integer. Product of the strides.
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


def padded_image_shape(
    image_shape: Any, strides: int, pad: bool
) -> tuple[tuple[int, int, int], Padding]:
    """Returns the checked image shape, and the layers that pad images and crop outputs.

    See `check_image_shape` for arguments and errors.
    """
    shape = check_image_shape(image_shape, strides, pad)
    return shape, padding_to_multiple(shape[:2], strides)


def check_widths(name: str, widths: Sequence[int]) -> tuple[int, ...]:
    """Returns layer widths as a tuple after checking them.

    Raises:
        ValueError: If there are no widths, or one is not an integer of at least 1.
    """
    if isinstance(widths, str) or not hasattr(widths, "__iter__") or not list(widths):
        raise ValueError(
            f"`{name}` must be a sequence of integers, one per layer. Received: {widths!r}"
        )
    return tuple(_validation.check_positive_integer(f"{name}[...]", width) for width in widths)


def _next_multiple(size: int, divisor: int) -> int:
    return -(-size // divisor) * divisor
