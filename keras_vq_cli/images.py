"""Images named on the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_vq_cli import console, files, models, session

if TYPE_CHECKING:
    import numpy as np

    from keras_vq.data import ImageDataset

# Equal to those of keras_vq.data, which can't be imported before the backend is selected.
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")


def files_of(named: Sequence[str]) -> list[Path]:
    """Returns the given files and the image files below the given folders.

    Hidden files and folders and system folders are skipped in folders, as in `keras_vq.data.load`;
    macOS, for example, writes `._photo.jpg` beside `photo.jpg`.

    Raises:
        ValueError: If a path does not exist, or a folder has no images.
    """
    # `Path.exists` raises PermissionError below unreadable folders; `os.path.exists` does not.
    missing = [name for name in named if not os.path.exists(name)]
    if missing:
        hint = models.near_path(Path(missing[0]))
        raise ValueError(f"IMG must be an existing file or folder.{hint} Received: {missing[0]}")
    paths: list[Path] = []
    for name in named:
        path = Path(name)
        if path.is_dir():
            found = _images_below(path)
            if not found:
                raise ValueError(
                    f"The folder must contain images ({', '.join(IMAGE_SUFFIXES)}). "
                    f"Received: {path}"
                )
            paths += found
        else:
            paths.append(path)
    return paths


def _images_below(folder: Path) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [n for n in folders if not n.startswith(".") and n not in SYSTEM_FOLDERS]
        found += [
            Path(parent, name)
            for name in names
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
        ]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def read(
    paths: Sequence[Path],
    image_shape: Any,
    skip_broken: bool = False,
    max_pixels: int | None = None,
) -> tuple[list[Path], list[np.ndarray]]:
    """Reads image files; imports Keras.

    Args:
        paths: Sequence of paths.
        image_shape: Tuple `(height, width, channels)` or `None`, as in `keras_vq.data.read_image`.
        skip_broken: Boolean. Whether to skip unreadable files with a warning. Defaults to `False`.
        max_pixels: Integer. Limit of `keras_vq.data.read_image`. Defaults to its default.

    Returns:
        Tuple of the list of paths that were read and the list of their pixel arrays.

    Raises:
        ValueError: If a file can't be read and is not skipped, or if no file can be read.
    """
    from keras_vq.data import read_image

    limit = {} if max_pixels is None else {"max_pixels": max_pixels}
    read, images = [], []
    for path in paths:
        try:
            images.append(read_image(path, image_shape, **limit))
        except ValueError as error:
            if not skip_broken:
                raise ValueError(f"{error}. Pass --skip-broken to skip such files.") from error
            console.warning(f"Skipped: {error}")
        else:
            read.append(path)
    if not read:
        plural = "s" if len(paths) != 1 else ""
        raise ValueError(f"No image could be read. Received: {len(paths)} unreadable file{plural}")
    return read, images


def of_model(
    source: models.Source,
    image_shape: tuple[int, int, int],
    named: Sequence[str],
    dataset: str | None = None,
    test: bool = True,
    **options: Any,
) -> ImageDataset:
    """Returns images for a model: given files, a given data set, or that of its run.

    Args:
        source: The model.
        image_shape: Tuple `(height, width, channels)`. Input shape of the model.
        named: Sequence of file and folder names.
        dataset: String. Name or folder of a data set. Defaults to `None`, for that of the run.
        test: Boolean. Whether to take test images instead of training images. Defaults to `True`.
        **options: Keyword arguments of `read`.

    Raises:
        ValueError: If there are no images, or they can't be read.
    """
    import numpy as np

    from keras_vq.data import ImageDataset
    from keras_vq_cli.building import load_images

    if named:
        read_images = np.stack(read(files_of(named), image_shape, **options)[1])
        return ImageDataset(np.round(read_images * 255).astype("uint8"), name=Path(named[0]).name)
    data = source.config.get("data")
    if dataset is not None:
        data = {**options, "dataset": dataset, "image_size": image_shape[:2]}
    elif data is None:
        raise ValueError(
            "Without a run folder, the data set of the model is unknown. Pass images with "
            f"--images IMG or --dataset NAME. Received: {source.model_file}"
        )
    return load_images({"data": data}, progress=not session.current().quiet)[1 if test else 0]


def write_png(image: np.ndarray, path: Path) -> None:
    """Writes a float image of shape `(height, width, channels)` in [0, 1] to a PNG file."""
    import numpy as np
    from PIL import Image

    pixels = np.round(np.clip(image, 0, 1) * 255).astype("uint8")
    with files.whole_file(path) as beside:
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(beside)
