"""Decoding of image files to 8-bit arrays with Pillow, independent of the backend."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from keras_vq.data.progress import ProgressBar

if TYPE_CHECKING:
    from PIL.Image import Image

    from keras_vq.data.cache import EntryWriter

GRAY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
DEEP_GRAY_MODES = {"I", "I;16", "I;16B", "I;16L", "I;16N"}
# Largest numbers of images and of pixels that a thread decodes at a time.
CHUNK = 64
CHUNK_PIXELS = 2**20
# Pillow tries these decoders only, because others run programs such as Ghostscript.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
# Default limit: decoding 2^25 pixels (5,792 x 5,792) takes about 500 MB.
MAX_PIXELS = 2**25
# EXIF tag of the orientation, and its values for images with swapped height and width.
_ORIENTATION = 0x0112
_LYING = (5, 6, 7, 8)

In = TypeVar("In")
Out = TypeVar("Out")


class Picture(NamedTuple):
    """Encoded image with its label."""

    name: str  # name in error messages
    source: Path | bytes
    label: int | None = None


class Header(NamedTuple):
    """Size and color mode of an image file, or the reason for which it can't be read."""

    height: int
    width: int
    is_gray: bool
    problem: str | None = None


def import_pillow() -> Any:
    """Imports `PIL.Image`.

    Raises:
        ImportError: If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "Decoding images requires Pillow. Install with: pip install pillow"
        ) from error
    return Image


def open_image(source: Path | bytes, max_pixels: int | None = MAX_PIXELS) -> Image:
    """Opens an image in one of `FORMATS` and reads its header only.

    Args:
        source: Path of a regular file, or the bytes of a file.
        max_pixels: Integer. Largest number of pixels, or None for the limit of Pillow. Defaults to
            2**25.

    Raises:
        ValueError: If the file is not a regular file, or the image has too many pixels.
        Exception: Any error of Pillow for an image that can't be read.
    """
    pillow = import_pillow()
    if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
        raise ValueError("not a regular file")
    try:
        image = pillow.open(
            io.BytesIO(source) if isinstance(source, bytes) else source, "r", FORMATS
        )
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        # Pillow itself refuses images of more than 179 million pixels.
        if max_pixels is None or max_pixels > pillow.MAX_IMAGE_PIXELS:
            raise
        raise ValueError(f"more than {max_pixels:,} pixels; increase `max_pixels`") from error
    if max_pixels is not None and image.width * image.height > max_pixels:
        image.close()
        raise ValueError(
            f"{image.height}x{image.width} is more than {max_pixels:,} pixels; increase "
            "`max_pixels`"
        )
    return image


def read_header(path: Path, max_pixels: int | None = MAX_PIXELS) -> Header:
    """Reads the size and color mode of an image; errors are returned as `Header.problem`."""
    try:
        with open_image(path, max_pixels) as image:
            height, width = image.height, image.width
            if image.getexif().get(_ORIENTATION, 1) in _LYING:
                height, width = width, height
            return Header(height, width, _is_gray(image))
    except ImportError:
        raise
    except Exception as error:  # Pillow's plugins raise errors of many types
        return Header(0, 0, True, problem=reason(error))


def decode(
    source: Path | bytes,
    channels: int,
    image_size: tuple[int, int] | None = None,
    max_pixels: int | None = MAX_PIXELS,
) -> np.ndarray:
    """Decodes one image.

    Transparent pixels become white. 16-bit gray values are scaled to 8 bits. The first frame of an
    animation is used. Photos are rotated according to their EXIF orientation. Resizing is
    antialiased and does not keep the aspect ratio.

    Args:
        source: Path of a file, or the bytes of a file.
        channels: Integer. 1 for gray or 3 for RGB.
        image_size: Tuple `(height, width)` to resize to. Defaults to None, which keeps the size.
        max_pixels: Integer. Largest number of pixels, or None for the limit of Pillow. Defaults to
            2**25.

    Returns:
        Uint8 array of shape `(height, width, channels)`.

    Raises:
        ValueError: If the image has too many pixels.
        Exception: Any error of Pillow for an image that can't be read.
    """
    from PIL import ImageOps

    with open_image(source, max_pixels) as opened:
        ImageOps.exif_transpose(opened, in_place=True)
        image = _to_mode(opened, "L" if channels == 1 else "RGB")
        pixels = np.asarray(image)
    pixels = pixels[..., np.newaxis] if channels == 1 else pixels
    return pixels if image_size is None else resize(pixels, image_size)


def resize(pixels: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Resizes an image with antialiasing.

    Args:
        pixels: Uint8 array of shape `(height, width, channels)`, with 1 or 3 channels.
        image_size: Tuple `(height, width)` of the result.
    """
    if pixels.shape[:2] == image_size:
        return pixels
    pillow = import_pillow()
    channels = pixels.shape[-1]
    image = pillow.fromarray(pixels[..., 0] if channels == 1 else pixels)
    # Pillow's order is (width, height). Its filters widen with the reduction, against aliasing.
    resized = np.asarray(image.resize(image_size[::-1], pillow.Resampling.BICUBIC))
    return resized.reshape(*image_size, channels)


def write_decoded(
    pictures: Iterable[Picture],
    total: int,
    writer: EntryWriter,
    *,
    channels: int,
    image_size: tuple[int, int] | None,
    skip_broken: bool,
    max_pixels: int | None,
    bar: ProgressBar,
) -> None:
    """Decodes images in several threads and appends them to `writer` in order.

    Args:
        pictures: Iterable of `Picture`.
        total: Integer. Number of pictures.
        writer: `EntryWriter`.
        channels: Integer. 1 for gray or 3 for RGB.
        image_size: Tuple `(height, width)` to resize to, or None.
        skip_broken: Boolean. Whether to add unreadable images to `writer.skipped`, with a warning,
            instead of raising an error.
        max_pixels: Integer. Largest number of pixels, or None for the limit of Pillow.
        bar: `ProgressBar`, advanced by the number of pictures.

    Raises:
        ValueError: If an image can't be read (unless `skip_broken`), images have different sizes,
            or no image can be read.
    """

    def decode_chunk(chunk: list[Picture]) -> list[tuple[Picture, np.ndarray | str]]:
        decoded: list[tuple[Picture, np.ndarray | str]] = []
        for picture in chunk:
            try:
                decoded.append((picture, decode(picture.source, channels, image_size, max_pixels)))
            except ImportError:
                raise
            except Exception as error:
                decoded.append((picture, reason(error)))
        return decoded

    first: tuple[str, tuple[int, ...]] | None = None
    for decoded in map_in_threads(decode_chunk, _chunks(pictures, image_size, max_pixels)):
        kept = []
        for picture, pixels in decoded:
            if isinstance(pixels, str):
                note_broken(picture.name, pixels, writer.skipped, skip_broken)
                continue
            if first is None:
                first = picture.name, pixels.shape
            elif pixels.shape != first[1]:
                raise different_sizes(*first, picture.name, pixels.shape)
            kept.append((pixels, picture.label))
        if kept:
            images, labels = zip(*kept, strict=True)
            writer.append(np.stack(images), None if labels[0] is None else labels)
        bar.advance(len(decoded))
    if first is None:
        raise ValueError(
            f"No image could be read ({total:,} in total). "
            f"Received: {'; '.join(writer.skipped[:3])}"
        )
    if writer.skipped:
        warnings.warn(
            f"Skipped {len(writer.skipped)} of {total:,} images that could not be read: "
            f"{'; '.join(writer.skipped)}",
            stacklevel=2,
        )


def map_in_threads(function: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
    """Applies a function to items in several threads, in order, with a bounded queue of results."""
    threads = min(8, os.cpu_count() or 1)
    waiting: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def note_broken(name: str, problem: str, skipped: list[str], skip_broken: bool) -> None:
    """Adds an unreadable image to `skipped`.

    Raises:
        ValueError: If `skip_broken` is False.
    """
    if not skip_broken:
        raise ValueError(
            f"The image could not be read ({problem}). Repair or remove it, or pass "
            f"`skip_broken=True` to skip such files. Received: {name!r}"
        )
    # `repr` escapes control characters.
    skipped.append(f"{repr(name)[1:-1]} ({problem})")


def different_sizes(
    first: str, first_shape: tuple[int, ...], other: str, other_shape: tuple[int, ...]
) -> ValueError:
    """Returns the error for images of different heights or widths."""
    sizes = [f"{shape[0]}x{shape[1]}" for shape in (first_shape, other_shape)]
    return ValueError(
        "All images must have the same height and width. Pass `image_size` to resize them. "
        f"Received: {first!r} of {sizes[0]} and {other!r} of {sizes[1]}"
    )


def _chunks(
    pictures: Iterable[Picture], image_size: tuple[int, int] | None, max_pixels: int | None
) -> Iterator[list[Picture]]:
    pictures = iter(pictures)
    length = 1
    while chunk := list(islice(pictures, length)):
        yield chunk
        length = _chunk_length(chunk[0].source, image_size, max_pixels)


def _chunk_length(
    source: Path | bytes, image_size: tuple[int, int] | None, max_pixels: int | None
) -> int:
    if image_size is None:
        try:
            with open_image(source, max_pixels) as image:
                image_size = image.size
        except Exception:  # an unreadable image
            return 1
    return min(CHUNK, max(1, CHUNK_PIXELS // (image_size[0] * image_size[1])))


def _is_gray(image: Image) -> bool:
    if image.mode != "P":
        return image.mode in GRAY_MODES
    # The palette may contain unused colors, so check the pixels.
    used = np.asarray(image.convert("RGB"))
    return bool((used == used[..., :1]).all())


def _to_mode(image: Image, mode: str) -> Image:
    """Converts an image to mode "L" or "RGB", on a white background."""
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode in DEEP_GRAY_MODES:
        gray = np.asarray(image).astype(np.float64).clip(0, 65535)
        image = import_pillow().fromarray(np.round(gray / 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError(
            "floating-point pixels have an unknown value range; use 8 or 16 bits per channel"
        )
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        white = import_pillow().new("RGBA", image.size, "white")
        image = import_pillow().alpha_composite(white, image)
        if mode == "L":
            # The channels of a gray image are equal; a weighted sum could be off by one.
            return image.getchannel("R")
    return image if image.mode == mode else image.convert(mode)


def reason(error: Exception) -> str:
    """Returns a one-line message for an error of Pillow or the file system."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    with contextlib.suppress(IndexError):
        if type(error).__name__ == "UnidentifiedImageError":
            return "not an image, or an unsupported format"
        return str(error).splitlines()[0]
    return type(error).__name__
