"""Plots of reconstructions, samples, latent spaces, codebook usage and training curves.

Functions import Matplotlib on first use, to keep the import of keras_vq fast.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vq._files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "plot_codebook_usage",
    "plot_history",
    "plot_latent_space",
    "plot_reconstructions",
    "plot_rows",
    "plot_samples",
    "plot_traversal",
]

# Lengths in inches.
_CELL = 0.8
_GAP = 0.05
_BLOCK_GAP = 0.25
_LABEL_WIDTH = 1.15
# Approximate width of a character of a label.
_LETTER_WIDTH = 0.08
_MARGIN = 0.15
_TITLE_HEIGHT = 0.4
_HEADING_HEIGHT = 0.2
_DPI = 150
_NOT_PLOTTED = ("epoch", "seconds")


def plot_reconstructions(
    images: Any,
    reconstructions: Any,
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
    columns: int = 10,
) -> Figure:
    """Plots rows of images, each above the row of their reconstructions.

    Args:
        images: Float array of shape `(n, height, width, channels)`, with 1 (gray) or 3 (RGB)
            channels. Pixels are clipped to [0, 1].
        reconstructions: Float array of the same shape.
        path: Path of a file to write, with the suffix of an image format such as .png, .pdf or
            .svg. Defaults to None.
        title: String. Title of the figure. Defaults to None.
        columns: Integer. Number of images per row. Defaults to 10.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If the arrays are not images of one shape, or `path` or `columns` is invalid.

    Example:
        >>> import numpy as np
        >>> from keras_vq.plots import plot_reconstructions
        >>> images = np.random.default_rng(0).random((3, 8, 8, 1))
        >>> figure = plot_reconstructions(images, images)
        >>> len(figure.axes)
        6
    """
    originals = _as_images("images", images)
    made = _as_images("reconstructions", reconstructions)
    if originals.shape != made.shape:
        raise ValueError(
            "`images` and `reconstructions` must be arrays of one shape. "
            f"Received: {originals.shape} and {made.shape}"
        )
    return plot_rows({"original": originals, "reconstruction": made}, path, title, columns)


def plot_rows(
    rows: Mapping[str, Any],
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
    columns: int = 10,
) -> Figure:
    """Plots sets of corresponding images, e.g. noisy, denoised and clean, in labeled rows.

    Args:
        rows: Dictionary from labels to float arrays of shape `(n, height, width, channels)`, with
            the same n and 1 (gray) or 3 (RGB) channels. Images of different sizes are scaled to the
            same size. Pixels are clipped to [0, 1].
        path: Path of a file to write, with the suffix of an image format such as .png, .pdf or
            .svg. Defaults to None.
        title: String. Title of the figure. Defaults to None.
        columns: Integer. Number of images per row. Defaults to 10.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If the arrays are not images, their numbers of images differ, or `path` or
            `columns` is invalid.

    Example:
        >>> import numpy as np
        >>> from keras_vq.plots import plot_rows
        >>> images = np.random.default_rng(0).random((3, 8, 8, 1))
        >>> figure = plot_rows({"half as large": images[:, ::2, ::2], "original": images})
        >>> [text.get_text() for text in figure.texts]
        ['half as large', 'original']
    """
    sets = {label: _as_images(label, images) for label, images in rows.items()}
    counts = {len(images) for images in sets.values()}
    if len(counts) != 1:
        raise ValueError(
            "`rows` must hold sets of equally many images. "
            f"Received: {', '.join(f'{len(images)} {label}' for label, images in sets.items())}"
        )
    _check_columns(columns)
    (count,) = counts
    drawn: list[tuple[str | None, np.ndarray]] = [
        (label, images[start : start + columns])
        for start in range(0, count, columns)
        for label, images in sets.items()
    ]
    figure = _draw_rows(drawn, min(columns, count), rows_in_block=len(sets), title=title)
    _write(figure, path)
    return figure


def plot_latent_space(
    latents: Any,
    labels: Any = None,
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Plots latents as points, colored by label.

    Latents of more than two dimensions are projected to their first two principal components. The
    axis labels state the explained variance.

    Args:
        latents: Array of shape `(n, ...)` with n at least 2, such as `model.encode(images)` or the
            result of t-SNE. All axes except the first are flattened.
        labels: Integer array of shape `(n,)`. Defaults to None.
        path: Path of a file to write, with the suffix of an image format such as .png, .pdf or
            .svg. Defaults to None.
        title: String. Title of the figure. Defaults to None.
        class_names: Sequence of strings. Names of labels 0, 1, .... Defaults to None, which shows
            the numbers.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If there are fewer than two latents, latents are not finite, `labels` or
            `class_names` do not match, or `path` is invalid.

    Example:
        >>> import numpy as np
        >>> from keras_vq.plots import plot_latent_space
        >>> rng = np.random.default_rng(0)
        >>> figure = plot_latent_space(rng.normal(size=(20, 8)), rng.integers(0, 3, 20))
        >>> len(figure.axes)
        1
    """
    points = np.asarray(latents, "float64")
    if points.ndim < 2 or len(points) < 2 or not np.isfinite(points).all():
        raise ValueError(
            "`latents` must be finite numbers of shape (n, ...), n at least 2. "
            f"Received: shape {points.shape}"
        )
    points = points.reshape(len(points), -1)
    given = np.zeros(len(points), "int64") if labels is None else np.asarray(labels)
    if given.shape != (len(points),) or given.dtype.kind not in "iu":
        raise ValueError(
            f"`labels` must be {len(points)} whole numbers, one for each latent. "
            f"Received: {given.dtype} values of shape {given.shape}"
        )
    if class_names is not None and not (given.min() >= 0 and given.max() < len(class_names)):
        raise ValueError(
            f"`class_names` must have a name for each label from 0. Received: {len(class_names)} "
            f"names, labels from {given.min()} to {given.max()}"
        )
    names = ["dimension 0", "dimension 1"]
    if points.shape[1] > 2:
        points, shares = _principal_components(points)
        names = [f"component {i + 1}, {100 * shares[i]:.0f} % of the variance" for i in (0, 1)]
    elif points.shape[1] == 1:
        points = np.concatenate([points, np.zeros_like(points)], axis=1)
        names[1] = ""
    figure = _new_figure(figsize=(6.4, 5.2), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    # Draw in random order, so that no class hides the others.
    order = np.random.default_rng(0).permutation(len(points))
    kinds = np.unique(given)
    colours = _colours(len(kinds)) if labels is not None else ["tab:blue"]
    by_point = np.array(colours, dtype=object)[np.searchsorted(kinds, given)]
    size = float(np.clip(12_000 / len(points), 2.0, 25.0))
    axes.scatter(
        points[order, 0], points[order, 1], s=size, c=list(by_point[order]), linewidths=0, alpha=0.8
    )
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.spines[["top", "right"]].set_visible(False)
    if labels is not None:
        for kind, colour in zip(kinds, colours, strict=True):
            name = str(kind) if class_names is None else class_names[kind]
            axes.scatter([], [], s=30, color=colour, label=name)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    if title:
        figure.suptitle(title, fontsize=10)
    _write(figure, path)
    return figure


def plot_samples(
    images: Any,
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
    columns: int = 10,
) -> Figure:
    """Plots images in a grid.

    Args:
        images: Float array of shape `(n, height, width, channels)`, with 1 (gray) or 3 (RGB)
            channels. Pixels are clipped to [0, 1].
        path: Path of a file to write, with the suffix of an image format such as .png, .pdf or
            .svg. Defaults to None.
        title: String. Title of the figure. Defaults to None.
        columns: Integer. Number of images per row. Defaults to 10.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If the array does not contain images, or `path` or `columns` is invalid.

    Example:
        >>> import numpy as np
        >>> from keras_vq.plots import plot_samples
        >>> figure = plot_samples(np.random.default_rng(0).random((12, 8, 8, 3)))
        >>> len(figure.axes)
        12
    """
    samples = _as_images("images", images)
    _check_columns(columns)
    rows: list[tuple[str | None, np.ndarray]]
    rows = [(None, samples[start : start + columns]) for start in range(0, len(samples), columns)]
    figure = _draw_rows(rows, min(columns, len(samples)), rows_in_block=1, title=title)
    _write(figure, path)
    return figure


def plot_traversal(
    images: Any,
    dimensions: Sequence[int] | None = None,
    values: Sequence[float] | None = None,
    path: str | os.PathLike[str] | None = None,
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
        path: Path of a file to write, with the suffix of an image format such as .png, .pdf or
            .svg. Defaults to None.
        title: String. Title of the figure. Defaults to None.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If the array does not contain images, the numbers of dimensions or values differ
            from the numbers of rows or steps, or `path` is invalid.

    Example:
        >>> import numpy as np
        >>> from keras_vq.plots import plot_traversal
        >>> figure = plot_traversal(np.random.default_rng(0).random((2, 5, 8, 8, 1)))
        >>> [text.get_text() for text in figure.texts]
        ['std. deviations', '-3', '-1.5', '0', '1.5', '3', 'latent 0', 'latent 1']
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
            f"`images` has {count} rows of {steps}: as many `dimensions` and `values` must be "
            f"given. Received: {len(labels)} and {len(stops)}"
        )
    rows: list[tuple[str | None, np.ndarray]]
    rows = [(f"latent {label}", row) for label, row in zip(labels, shown, strict=True)]
    headings = ["std. deviations", *(f"{stop:.3g}" for stop in stops)]
    figure = _draw_rows(rows, steps, rows_in_block=1, title=title, headings=headings)
    _write(figure, path)
    return figure


def plot_codebook_usage(
    counts: Any,
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Plots the usage of codes in descending order, in one panel per stage.

    The dashed line is uniform usage: the share of each code if all were used equally.

    Args:
        counts: Array of nonnegative usage counts of shape `(codebook_size,)`, or a list of such
            arrays, one per stage.
        path: Path of a file to write, with the suffix of an image format such as .png, .pdf or
            .svg. Defaults to None.
        title: String. Title of the figure. Defaults to None.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If `counts` or `path` is invalid.

    Example:
        >>> from keras_vq.plots import plot_codebook_usage
        >>> figure = plot_codebook_usage([[5, 0, 3, 1], [2, 2, 2, 3]])
        >>> len(figure.axes)
        2
    """
    from matplotlib.ticker import MaxNLocator

    levels = _as_counts(counts)
    figure = _new_figure(figsize=(6.4, 1.0 + 1.7 * len(levels)), dpi=_DPI, layout="constrained")
    for level, (axes, own) in enumerate(
        zip(np.atleast_1d(figure.subplots(len(levels))), levels, strict=True)
    ):
        share = 100 * np.sort(own)[::-1] / max(own.sum(), 1)
        places = np.arange(1, len(own) + 1)
        axes.bar(places, share, width=1.0, color="tab:blue", linewidth=0, label="share of a code")
        axes.axhline(
            100 / len(own), color="0.3", linewidth=0.8, linestyle="--", label="uniform usage"
        )
        used = int((own > 0).sum())
        heading = f"{used} of {len(own)} codes used, perplexity {_perplexity(own):.1f}"
        axes.set_title(heading if len(levels) == 1 else f"level {level}: {heading}", fontsize=9)
        axes.set_ylabel("% of vectors")
        axes.set_xlim(0.5, len(own) + 0.5)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if level == 0:
            axes.legend(loc="upper right", fontsize=8)
    axes.set_xlabel("codes, the most used first")
    if title:
        figure.suptitle(title)
    _write(figure, path)
    return figure


def plot_history(history: Any, path: str | os.PathLike[str] | None = None) -> Figure:
    """Plots losses and metrics by epoch, with training and validation curves in one panel.

    Args:
        history: `History` returned by `fit`, or a dictionary from names to one number per epoch.
            The prefix `val_` denotes validation. The key `epoch`, if present, is the horizontal
            axis.
        path: Path of a file to write, with the suffix of an image format such as .png, .pdf or
            .svg. Defaults to None.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If there is nothing to plot, or `path` is invalid.

    Example:
        >>> from keras_vq.plots import plot_history
        >>> figure = plot_history({"loss": [3.0, 2.0], "val_loss": [3.1, 2.2]})
        >>> [axes.get_title() for axes in figure.axes]
        ['loss']
    """
    curves: Mapping[str, Sequence[float]] = getattr(history, "history", history)
    if not isinstance(curves, Mapping) or not any(len(values) for values in curves.values()):
        raise ValueError(
            "`history` must be what `fit` returned, or a mapping from names to one number an "
            f"epoch. Received: {history!r}"
        )
    names = list(dict.fromkeys(name.removeprefix("val_") for name in curves))
    names = [name for name in names if name not in _NOT_PLOTTED]
    from matplotlib.ticker import MaxNLocator

    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = _new_figure(figsize=(4 * columns, 2.8 * rows), dpi=_DPI, layout="constrained")
    # Legend in the first panel with both curves, or in the first panel.
    with_legend = next((i for i, name in enumerate(names) if _is_pair(curves, name)), 0)
    for position, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, position + 1)
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in curves:
                values = list(curves[key])
                epochs = list(curves.get("epoch", range(1, len(values) + 1)))
                # A line of one epoch is invisible without a marker.
                axes.plot(epochs, values, label=label, marker="o" if len(values) == 1 else None)
                # Wider margins would include epoch 0.
                margin = min(0.05 * (epochs[-1] - epochs[0]), 0.5) or 0.5
                axes.set_xlim(epochs[0] - margin, epochs[-1] + margin)
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if position + columns >= len(names):
            axes.set_xlabel("epoch", fontsize=9)
        if position == with_legend:
            axes.legend(fontsize=8, frameon=False)
    _write(figure, path)
    return figure


def _is_pair(curves: Mapping[str, Sequence[float]], name: str) -> bool:
    """Returns whether a metric has both a training and a validation curve."""
    return name in curves and f"val_{name}" in curves


def as_png(figure: Figure) -> bytes:
    """Returns a figure as bytes of a PNG file, with a white background."""
    png = io.BytesIO()
    figure.savefig(png, format="png", facecolor="white")
    return png.getvalue()


@functools.cache
def _picture_class() -> type[Figure]:
    from matplotlib.figure import Figure

    class Picture(Figure):
        """Figure with a PNG representation for notebooks, independent of pyplot."""

        def _repr_png_(self) -> bytes:
            return as_png(self)

    return Picture


def _new_figure(**options: Any) -> Figure:
    return _picture_class()(**options)


def _as_images(name: str, images: Any) -> np.ndarray:
    array = np.asarray(images)
    if array.ndim != 4 or len(array) == 0 or array.shape[-1] not in (1, 3):
        raise ValueError(
            f"`{name}` must be an array of shape (n, height, width, channels), n at least 1, with "
            f"1 or 3 channels. Received: shape {array.shape}"
        )
    if array.dtype.kind != "f":
        raise ValueError(
            f"`{name}` must hold real numbers in [0, 1]: divide 8-bit pixels by 255. "
            f"Received: type {array.dtype}"
        )
    return np.clip(array.astype("float32"), 0.0, 1.0)


def _principal_components(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes coordinates on the first two principal components, and all variance fractions."""
    centred = points - points.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    shares = spread**2 / max(float((spread**2).sum()), 1e-300)
    return left[:, :2] * spread[:2], shares


def _colours(count: int) -> list[Any]:
    """Returns `count` distinguishable colors."""
    import matplotlib

    if count <= 10:
        return [matplotlib.colormaps["tab10"](index) for index in range(count)]
    return [matplotlib.colormaps["turbo"](index / (count - 1)) for index in range(count)]


def _as_counts(counts: Any) -> list[np.ndarray]:
    is_one = np.ndim(counts[0]) == 0 if len(counts) else True
    levels = [np.asarray(own, "float64") for own in ([counts] if is_one else counts)]
    if not all(own.ndim == 1 and own.size and (own >= 0).all() for own in levels):
        raise ValueError(
            "`counts` must be an array of shape (codebook_size,) of numbers of at least 0, or a "
            f"list of such arrays. Received: shapes {[own.shape for own in levels]}"
        )
    return levels


def _perplexity(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _check_columns(columns: int) -> None:
    if isinstance(columns, bool) or not hasattr(columns, "__index__") or columns < 1:
        raise ValueError(f"`columns` must be a whole number of at least 1. Received: {columns!r}")


def _draw_rows(
    rows: list[tuple[str | None, np.ndarray]],
    columns: int,
    rows_in_block: int,
    title: str | None,
    headings: Sequence[str] = (),
) -> Figure:
    """Draws labeled rows of images.

    Positions are computed here, because a layout engine takes seconds for 100 images.

    Args:
        rows: List of `(label, images)` of each row. The label can be None.
        columns: Integer. Number of images per row.
        rows_in_block: Integer. Number of consecutive rows without a wide gap between them.
        title: String. Title of the figure, or None.
        headings: Sequence of strings. Headings of the labels and of each column. Defaults to none.
    """
    height, width = max((images.shape[1:3] for _, images in rows), key=max)
    scale = _CELL / max(height, width)
    cell_height, cell_width = height * scale, width * scale
    longest = max(len(label or "") for label, _ in rows)
    left = max(_LABEL_WIDTH, _LETTER_WIDTH * longest + 2 * _MARGIN) if longest else _MARGIN
    top = (_TITLE_HEIGHT if title else _MARGIN) + (_HEADING_HEIGHT if headings else 0.0)
    blocks = len(rows) // rows_in_block
    block_gap = _BLOCK_GAP if rows_in_block > 1 else _GAP
    rows_height = len(rows) * (cell_height + _GAP) + (blocks - 1) * (block_gap - _GAP)
    # The title can be wider than the images.
    title_width = 0.09 * len(title) + 2 * _MARGIN if title else 0.0
    figure_width = max(left + columns * (cell_width + _GAP) + _MARGIN, title_width)
    figure_height = top + rows_height + _MARGIN

    figure = _new_figure(figsize=(figure_width, figure_height), dpi=_DPI)
    if title:
        from_top = 1 - 0.5 * _TITLE_HEIGHT / figure_height
        figure.text(_MARGIN / figure_width, from_top, title, fontsize=10, va="center")
    for column, heading in enumerate(headings, start=-1):
        centre = left + column * (cell_width + _GAP) + cell_width / 2
        figure.text(
            (centre if column >= 0 else left - 0.1) / figure_width,
            1 - (top - 0.5 * _HEADING_HEIGHT) / figure_height,
            heading,
            fontsize=8,
            ha="center" if column >= 0 else "right",
            va="center",
        )
    for row, (label, images) in enumerate(rows):
        gaps = row * _GAP + (row // rows_in_block) * (block_gap - _GAP)
        bottom = figure_height - top - (row + 1) * cell_height - gaps
        if label:
            figure.text(
                (left - 0.1) / figure_width,
                (bottom + cell_height / 2) / figure_height,
                label,
                fontsize=9,
                ha="right",
                va="center",
            )
        for column, image in enumerate(images):
            axes = figure.add_axes(
                (
                    (left + column * (cell_width + _GAP)) / figure_width,
                    bottom / figure_height,
                    cell_width / figure_width,
                    cell_height / figure_height,
                )
            )
            # Fixed gray scale, not stretched to the range of each image.
            axes.imshow(
                image[..., 0] if image.shape[-1] == 1 else image,
                cmap="gray",
                vmin=0.0,
                vmax=1.0,
                interpolation="nearest",
                aspect="auto",
            )
            axes.set_xticks([])
            axes.set_yticks([])
            # Thin border, so that white images are visible on a white page.
            for spine in axes.spines.values():
                spine.set(linewidth=0.4, edgecolor="0.7")
    return figure


def _write(figure: Figure, path: str | os.PathLike[str] | None) -> None:
    """Writes the figure atomically to `path`, unless it is None.

    Raises:
        ValueError: If the suffix of `path` is not a supported format.
    """
    if path is None:
        return
    suffix = Path(path).suffix
    known = figure.canvas.get_supported_filetypes()
    if suffix[1:].lower() not in known:
        raise ValueError(
            "`path` must end in the name of a picture format, such as .png, .pdf or .svg. "
            f"Received: {str(path)!r}"
        )
    with whole_file(path) as beside:
        figure.savefig(beside, facecolor="white")
