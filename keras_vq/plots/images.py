"""Plots of images in labeled rows and grids."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vq.plots._figure import DPI, new_figure, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Lengths in pixels: longest side of an image, gaps between images and between blocks of rows, and
# margin of the figure.
_CELL = 120
_GAP = 6
_BLOCK_GAP = 36
_MARGIN = 22
# Gray level of a line around each image, which shows white images on a white page.
_LINE = 179


def plot_reconstructions(
    images: Any,
    reconstructions: Any,
    filepath: str | os.PathLike[str] | None = None,
    title: str | None = None,
    columns: int = 10,
) -> Figure:
    """Plots rows of images, each above the row of their reconstructions.

    Args:
        images: Float array of shape `(n, height, width, channels)`, with 1 (gray) or 3 (RGB)
            channels. Pixels are clipped to [0, 1].
        reconstructions: Float array of the same shape.
        filepath: String or path. File to write, with the suffix of an image format such as .png,
            .pdf or .svg. Defaults to None.
        title: String. Title of the figure. Defaults to None.
        columns: Integer. Number of images per row. Defaults to 10.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If the arrays are not images of one shape, or `filepath` or `columns` is
            invalid.

    Example:
        >>> import numpy as np
        >>> from keras_vq.plots import plot_reconstructions
        >>> images = np.random.default_rng(0).random((3, 8, 8, 1))
        >>> figure = plot_reconstructions(images, images)
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['original', 'reconstruction']
    """
    originals = _as_images("images", images)
    made = _as_images("reconstructions", reconstructions)
    if originals.shape != made.shape:
        raise ValueError(
            "`images` and `reconstructions` must be arrays of the same shape. "
            f"Received: {originals.shape} and {made.shape}"
        )
    return plot_rows({"original": originals, "reconstruction": made}, filepath, title, columns)


def plot_rows(
    rows: Mapping[str, Any],
    filepath: str | os.PathLike[str] | None = None,
    title: str | None = None,
    columns: int = 10,
) -> Figure:
    """Plots sets of corresponding images, e.g. noisy, denoised and clean, in labeled rows.

    Args:
        rows: Dictionary from labels to float arrays of shape `(n, height, width, channels)`, with
            the same n and 1 (gray) or 3 (RGB) channels. Images of different sizes are scaled to the
            same size. Pixels are clipped to [0, 1].
        filepath: String or path. File to write, with the suffix of an image format such as .png,
            .pdf or .svg. Defaults to None.
        title: String. Title of the figure. Defaults to None.
        columns: Integer. Number of images per row. Defaults to 10.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If the arrays are not images, their numbers of images differ, or `filepath` or
            `columns` is invalid.

    Example:
        >>> import numpy as np
        >>> from keras_vq.plots import plot_rows
        >>> images = np.random.default_rng(0).random((3, 8, 8, 1))
        >>> figure = plot_rows({"half as large": images[:, ::2, ::2], "original": images})
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['half as large', 'original']
    """
    sets = {label: _as_images(label, images) for label, images in rows.items()}
    counts = {len(images) for images in sets.values()}
    if len(counts) != 1:
        raise ValueError(
            "`rows` must have the same number of images each. "
            f"Received: {', '.join(f'{len(images)} {label}' for label, images in sets.items())}"
        )
    _check_columns(columns)
    (count,) = counts
    drawn = [
        (label, images[start : start + columns])
        for start in range(0, count, columns)
        for label, images in sets.items()
    ]
    return save(_draw_rows(drawn, title, rows_in_block=len(sets)), filepath)


def plot_samples(
    images: Any,
    filepath: str | os.PathLike[str] | None = None,
    title: str | None = None,
    columns: int = 10,
) -> Figure:
    """Plots images in a grid.

    Args:
        images: Float array of shape `(n, height, width, channels)`, with 1 (gray) or 3 (RGB)
            channels. Pixels are clipped to [0, 1].
        filepath: String or path. File to write, with the suffix of an image format such as .png,
            .pdf or .svg. Defaults to None.
        title: String. Title of the figure. Defaults to None.
        columns: Integer. Number of images per row. Defaults to 10.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If the array does not contain images, or `filepath` or `columns` is invalid.

    Example:
        >>> import numpy as np
        >>> from keras_vq.plots import plot_samples
        >>> figure = plot_samples(np.random.default_rng(0).random((12, 8, 8, 3)))
        >>> len(figure.axes)
        1
    """
    samples = _as_images("images", images)
    _check_columns(columns)
    rows = [("", samples[start : start + columns]) for start in range(0, len(samples), columns)]
    return save(_draw_rows(rows, title), filepath)


def plot_traversal(
    images: Any,
    dimensions: Sequence[int] | None = None,
    values: Sequence[float] | None = None,
    filepath: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Plots a latent traversal, with one row of images per latent dimension.

    Args:
        images: Float array of shape `(rows, steps, height, width, channels)` from `VAE.traverse`,
            with 1 (gray) or 3 (RGB) channels. Pixels are clipped to [0, 1].
        dimensions: Sequence of integers. Latent dimension of each row. Defaults to None, which
            counts from 0.
        values: Sequence of floats. Latent value of each step, in standard deviations of the prior.
            Defaults to None, which is evenly spaced values from -3 to 3.
        filepath: String or path. File to write, with the suffix of an image format such as .png,
            .pdf or .svg. Defaults to None.
        title: String. Title of the figure. Defaults to None.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If the array does not contain images, the numbers of dimensions or values differ
            from the numbers of rows or steps, or `filepath` is invalid.

    Example:
        >>> import numpy as np
        >>> from keras_vq.plots import plot_traversal
        >>> figure = plot_traversal(np.random.default_rng(0).random((2, 5, 8, 8, 1)))
        >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
        ['-3', '-1.5', '0', '1.5', '3']
    """
    array = np.asarray(images)
    if array.ndim != 5:
        raise ValueError(
            "`images` must be an array of shape (rows, steps, height, width, channels). "
            f"Received: shape {array.shape}"
        )
    count, steps = array.shape[:2]
    shown = _as_images("images", array.reshape(-1, *array.shape[2:])).reshape(array.shape)
    labels = list(range(count) if dimensions is None else dimensions)
    stops = list(np.linspace(-3, 3, steps) if values is None else values)
    if (len(labels), len(stops)) != (count, steps):
        raise ValueError(
            f"`dimensions` and `values` must have lengths {count} and {steps}, the first axes of "
            f"`images`. Received: {len(labels)} and {len(stops)}"
        )
    rows = [(f"latent {label}", row) for label, row in zip(labels, shown, strict=True)]
    headings = [f"{stop:.3g}" for stop in stops]
    return save(_draw_rows(rows, title, headings, "standard deviations"), filepath)


def _as_images(name: str, images: Any) -> np.ndarray:
    array = np.asarray(images)
    if array.ndim != 4 or len(array) == 0 or array.shape[-1] not in (1, 3):
        raise ValueError(
            f"`{name}` must be an array of shape (n, height, width, channels) with n >= 1 and 1 or "
            f"3 channels. Received: shape {array.shape}"
        )
    if array.dtype.kind != "f":
        raise ValueError(
            f"`{name}` must contain floats in [0, 1]. Divide 8-bit pixels by 255. "
            f"Received: type {array.dtype}"
        )
    return np.clip(array.astype("float32"), 0.0, 1.0)


def _check_columns(columns: int) -> None:
    if isinstance(columns, bool) or not hasattr(columns, "__index__") or columns < 1:
        raise ValueError(f"`columns` must be a positive integer. Received: {columns!r}")


def _draw_rows(
    rows: Sequence[tuple[str, np.ndarray]],
    title: str | None,
    headings: Sequence[str] = (),
    heading: str = "",
    rows_in_block: int = 1,
) -> Figure:
    """Draws labeled rows of images as one mosaic.

    Args:
        rows: Sequence of `(label, images)` of each row.
        title: String. Title of the figure, or None.
        headings: Sequence of strings. Heading of each column. Defaults to none.
        heading: String. Heading of all columns. Defaults to none.
        rows_in_block: Integer. Number of consecutive rows without a wide gap between them. Defaults
            to 1, without any wide gap.
    """
    tops, lefts, mosaic = _mosaic([images for _, images in rows], rows_in_block)
    height, width = mosaic.shape[:2]
    figure = new_figure(width / DPI, height / DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(mosaic, interpolation="nearest", aspect="auto")
    axes.set_yticks(tops, [label for label, _ in rows], fontsize=9)
    axes.set_xticks(lefts if headings else [], headings, fontsize=8)
    axes.set_xlabel(heading, fontsize=8)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title or "", fontsize=10, loc="left")
    # Enlarges the figure by its texts, and keeps the mosaic at one pixel per pixel.
    box = figure.get_tightbbox().padded(_MARGIN / DPI)
    left, bottom, right, top = np.round(DPI * box.extents)
    whole_width, whole_height = right - left, top - bottom
    figure.set_size_inches(whole_width / DPI, whole_height / DPI)
    axes.set_position(
        (-left / whole_width, -bottom / whole_height, width / whole_width, height / whole_height)
    )
    return figure


def _mosaic(
    rows: Sequence[np.ndarray], rows_in_block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joins rows of images to one image.

    Returns:
        Tuple of the center of each row, the center of each column, and a uint8 array of shape
        `(height, width, 3)`.
    """
    from PIL import Image

    size = np.array(max((images.shape[1:3] for images in rows), key=max))
    scale = _CELL / size.max()
    # Pixels are enlarged by an integer, so that they have equal sizes.
    height, width = np.maximum(size * (round(scale) if scale > 1 else scale), 1).astype("int")
    places = np.arange(len(rows))
    tops = 1 + places * (height + _GAP)
    if rows_in_block > 1:
        tops += places // rows_in_block * (_BLOCK_GAP - _GAP)
    lefts = 1 + np.arange(max(map(len, rows))) * (width + _GAP)
    mosaic = np.full((tops[-1] + height + 1, lefts[-1] + width + 1, 3), 255, "uint8")
    for top, images in zip(tops, rows, strict=True):
        for left, image in zip(lefts, images, strict=False):
            pixels = np.repeat(image, 3 // image.shape[-1], axis=-1)
            tile = Image.fromarray((255 * pixels).round().astype("uint8"))
            mosaic[top - 1 : top + height + 1, left - 1 : left + width + 1] = _LINE
            mosaic[top : top + height, left : left + width] = tile.resize(
                (width, height), Image.Resampling.BOX
            )
    return tops + (height - 1) / 2, lefts + (width - 1) / 2, mosaic
