"""Figures that are independent of pyplot: creation and files."""

from __future__ import annotations

import functools
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_vq._files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """Creates a figure of a size in inches, which a notebook displays as PNG."""
    return _picture_class()(figsize=(width, height), dpi=DPI, **options)


@functools.cache
def _picture_class() -> type[Figure]:
    from matplotlib.figure import Figure

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            return as_png(self)

    return Picture


def as_png(figure: Figure) -> bytes:
    """Returns a figure as bytes of a PNG file, with a white background."""
    png = io.BytesIO()
    figure.savefig(png, format="png", facecolor="white")
    return png.getvalue()


def save(figure: Figure, filepath: str | os.PathLike[str] | None) -> Figure:
    """Writes a figure atomically to `filepath`, unless it is None, and returns the figure.

    Raises:
        ValueError: If the suffix of `filepath` is not a supported format.
    """
    if filepath is not None:
        if Path(filepath).suffix[1:].lower() not in figure.canvas.get_supported_filetypes():
            raise ValueError(
                "`filepath` must end in the suffix of an image format, such as .png, .pdf or .svg. "
                f"Received: {str(filepath)!r}"
            )
        with whole_file(filepath) as beside:
            figure.savefig(beside, facecolor="white")
    return figure
