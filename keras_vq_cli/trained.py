"""A trained model as it is named on the command line, and images to try it on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_vq_cli import files

if TYPE_CHECKING:
    import numpy as np

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


class Trained(NamedTuple):
    """The file of a trained model, and the configuration of the run that made it."""

    name: str
    model_file: Path
    config: dict[str, Any]  # empty for a file that no run wrote

    @property
    def backend(self) -> str | None:
        """The backend it was trained on, if that is known."""
        return self.config.get("backend")


def of_run(folder: Path) -> Trained:
    """The model of a run folder.

    Raises:
        ValueError: If it is none, or has no model yet.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(
            "RUN must be a folder that keras-vq train wrote; there is no config.json. "
            f"Received: {folder}"
        )
    config = files.read_json(folder / "config.json")
    if not isinstance(config, dict) or not {"backend", "image_shape"} <= set(config):
        raise ValueError(f"{folder / 'config.json'} is not the configuration of a run")
    if not (folder / "model.keras").is_file():
        raise ValueError(
            "The run has no model yet: its first epoch is not finished. Go on with it: "
            f"keras-vq train --resume --out {folder}"
        )
    return Trained(folder.resolve().name, folder / "model.keras", config)


def of_run_or_file(named: str) -> Trained:
    """The model of a run folder, or of a `.keras` file.

    Raises:
        ValueError: If it is neither.
    """
    path = Path(named)
    if path.suffix == ".keras" and path.is_file():
        return Trained(path.stem, path, {})
    if not path.is_dir():
        raise ValueError(
            f"RUN must be a folder that keras-vq train wrote, or a .keras file. Received: {named}"
        )
    return of_run(path)


def image_files(named: Sequence[str]) -> list[Path]:
    """The image files among names of files and folders.

    Raises:
        ValueError: If there is no such file, or no image in a folder.
    """
    # `os.path.exists` takes folders that may not be entered for missing; Path.exists raises.
    missing = [name for name in named if not os.path.exists(name)]
    if missing:
        raise ValueError(f"There is no such file or folder. Received: {missing[0]}")
    paths: list[Path] = []
    for name in named:
        path = Path(name)
        if path.is_dir():
            found = [
                file
                for file in sorted(path.rglob("*"))
                if file.suffix.lower() in _IMAGE_SUFFIXES and not os.path.isdir(file)
            ]
            if not found:
                raise ValueError(
                    f"There is no image ({', '.join(_IMAGE_SUFFIXES)}) in the folder. "
                    f"Received: {path}"
                )
            paths += found
        else:
            paths.append(path)
    return paths


def images_for(
    trained: Trained,
    image_shape: tuple[int, int, int],
    named: Sequence[str] | None,
    test: bool,
    count: int,
    limit: dict[str, Any],
) -> np.ndarray:
    """Images for a model: the user's files, else those of the data set of its run.

    Args:
        trained: The model.
        image_shape: Height, width and channels that it takes.
        named: Names of files and folders, or None.
        test: Whether the run's test images are wanted, not those that it trained on.
        count: How many at most.
        limit: Limit on pixels as keyword arguments of `read_image`.

    Returns:
        Float32 array of shape `(n, height, width, channels)`, in [0, 1].

    Raises:
        ValueError: If there are none, or they can't be read.
    """
    import numpy as np

    from keras_vq.data import read_image
    from keras_vq_cli.pipeline import load_images
    from keras_vq_cli.settings import Settings

    if named:
        paths = image_files(named)[:count]
        return np.stack([read_image(path, image_shape, **limit) for path in paths])
    if "settings" not in trained.config:
        raise ValueError(
            "A .keras file does not say what images it was trained on: name some by "
            f"--images IMG.... Received: {trained.model_file}"
        )
    sets = load_images(Settings.from_json(trained.config["settings"]), progress=True)
    return sets[1 if test else 0].take(count).images
