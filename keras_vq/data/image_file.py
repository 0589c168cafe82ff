"""Reading of single image files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from keras_vq import _validation
from keras_vq.data.decoding import MAX_PIXELS, decode, read_header, reason


def read_image(
    path: str | os.PathLike[str],
    image_shape: tuple[int | None, int | None, int] | None = None,
    max_pixels: int | None = MAX_PIXELS,
) -> np.ndarray:
    """Reads an image file as a float32 array.

    Transparent pixels become white. 16-bit gray values are scaled to 8 bits. The first frame of an
    animation is used. Photos are rotated according to their EXIF orientation.

    Args:
        path: Path of a png, jpg, bmp, gif, webp or tif file.
        image_shape: Tuple `(height, width, channels)` of the result, with 1 (gray) or 3 (RGB)
            channels. Resizing is antialiased and does not keep the aspect ratio; `(None, None,
            channels)` keeps the size. Defaults to None, which keeps the size and the color mode.
        max_pixels: Integer. Largest number of pixels, checked before decoding. Defaults to 2**25
            (33,554,432) pixels, which take about 500 MB. None leaves the limit of Pillow.

    Returns:
        Float32 array of shape `(height, width, channels)`, with pixels in [0, 1].

    Raises:
        ValueError: If the file can't be read or has too many pixels, or `image_shape` is invalid.

    Example:
        >>> import keras_vq, numpy as np, PIL.Image, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> PIL.Image.fromarray(np.full((4, 6), 255, "uint8")).save(f"{folder}/white.png")
        >>> image = keras_vq.data.read_image(f"{folder}/white.png", (2, 3, 1))
        >>> image.shape, float(image.min())
        ((2, 3, 1), 1.0)
    """
    path = Path(path)
    if max_pixels is not None:
        max_pixels = _validation.check_positive_integer("max_pixels", max_pixels)
    if image_shape is None:
        height, width, channels = None, None, None
    elif len(image_shape) == 3 and image_shape[2] in (1, 3):
        height, width, channels = image_shape
    else:
        raise ValueError(
            "`image_shape` must be (height, width, channels) with 1 or 3 channels. "
            f"Received: {image_shape!r}"
        )
    if (height is None) != (width is None):
        raise ValueError(
            f"`image_shape` must have both height and width, or neither. Received: {image_shape!r}"
        )
    header = read_header(path, max_pixels)
    problem = header.problem
    if problem is None:
        channels = channels or (1 if header.is_gray else 3)
        size = None if height is None or width is None else (height, width)
        try:
            return np.divide(decode(path, channels, size, max_pixels), 255, dtype="float32")
        except Exception as error:  # Pillow raises errors of many types
            problem = reason(error)
    raise ValueError(
        f"The image could not be read ({problem}). Repair or remove it. Received: {str(path)!r}"
    )
