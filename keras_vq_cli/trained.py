"""Lookup of trained models by command line arguments, and of images for them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_vq_cli import console, interrupts
from keras_vq_cli.arguments import did_you_mean
from keras_vq_cli.train import read_config, settings_of

if TYPE_CHECKING:
    import keras
    import numpy as np

MODEL_HELP = "run folder of keras-vq train, .keras file, or name or folder of a preset"

# Equal to those of keras_vq.data, which can't be imported before the backend is selected.
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
_PRESET_RECORD = "preset.json"


class Trained(NamedTuple):
    """File of a trained model, and the configuration of its training run."""

    name: str
    model_file: Path
    config: dict[str, Any]  # empty without a run

    @property
    def backend(self) -> str | None:
        """Backend of the training run, or `None` if unknown."""
        return self.config.get("backend")

    @property
    def is_preset(self) -> bool:
        """True for presets of the package and of `save_to_preset`."""
        return self.model_file.with_name(_PRESET_RECORD).is_file()

    @property
    def folder(self) -> Path:
        """Folder for derived files; for a preset of the package, a folder of its name."""
        if self.is_preset and self.model_file.parent in presets().values():
            return Path(self.name)
        return self.model_file.parent

    def load(self) -> keras.Model:
        """Loads the model, uncompiled; imports Keras.

        Raises:
            ValueError: If the file is corrupt, does not match the record of the preset, or holds no
                model of keras_vq that takes images.
        """
        import keras_vq

        kind = keras_vq.models.ReconstructionModel
        if self.is_preset:
            model = kind.from_preset(self.model_file.parent)
        else:
            model = keras_vq.load_model(self.model_file, compile=False)
        interrupts.check()
        if not isinstance(model, kind) or len(model.input_shape or ()) != 4:
            raise ValueError(
                f"{self.model_file} must contain a keras_vq model of images, such as a VQVAE. "
                f"Received: {type(model).__name__}"
            )
        return model


def presets() -> dict[str, Path]:
    """Returns a dict from the name of each preset of the package to its folder."""
    package = find_spec("keras_vq")
    if package is None or package.origin is None:
        return {}
    parent = Path(package.origin).parent
    roots = (parent / "saved_models", parent.parent / "saved_models")
    root = next((root for root in roots if root.is_dir()), None)
    folders = [] if root is None else sorted(root.iterdir())
    return {folder.name: folder for folder in folders if (folder / _PRESET_RECORD).is_file()}


def named(name: str) -> Trained:
    """Returns the model of a run folder, `.keras` file, preset folder or preset name.

    A folder without a model does not hide a preset of the same name.

    Raises:
        ValueError: If there is no such model, or the run has no model yet.
    """
    path = Path(name)
    if path.suffix == ".keras" and path.is_file():
        return Trained(path.stem, path, {})
    if (path / "config.json").is_file():
        return of_run(path)
    if (path / _PRESET_RECORD).is_file() and (path / "model.keras").is_file():
        return Trained(path.resolve().name, path / "model.keras", {})
    known = presets()
    if name in known:
        return Trained(name, known[name] / "model.keras", {})
    hint = did_you_mean(name, known) or near_path(path, _may_be_a_model)
    reason = "a folder without config.json" if path.is_dir() else "no such file or folder"
    if path.is_file():
        reason = "not a .keras file"
    raise ValueError(
        "The model must be a run folder of keras-vq train, a .keras file, or a preset "
        f"({', '.join(known) or 'none is installed'}).{hint} Received: {name} ({reason})"
    )


def of_run(folder: Path) -> Trained:
    """Returns the model of a run folder.

    Raises:
        ValueError: If the folder is not a run folder, or has no model yet.
    """
    config = read_config(folder)
    if not (folder / "model.keras").is_file():
        raise ValueError(
            "The run has no model because its first epoch is not complete. Resume it with: "
            f"keras-vq train --resume --out {shlex.quote(str(folder))}"
        )
    return Trained(folder.resolve().name, folder / "model.keras", config)


def _may_be_a_model(path: Path) -> bool:
    return path.is_dir() or path.suffix == ".keras"


def near_path(path: Path, wanted: Callable[[Path], bool] = Path.exists) -> str:
    """Returns a suggestion of an existing path close to a missing one, or an empty string."""
    parent = path.parent
    if not path.name or path.exists() or not parent.is_dir():
        return ""
    try:
        names = [entry.name for entry in os.scandir(parent) if wanted(Path(entry.path))]
    except OSError:  # for example, permission denied
        return ""
    return did_you_mean(str(path), (str(parent / name) for name in names))


def image_files(named: Sequence[str]) -> list[Path]:
    """Returns the given files and the image files below the given folders.

    Hidden files and folders and system folders are skipped in folders, as in `keras_vq.data.load`;
    macOS, for example, writes `._photo.jpg` beside `photo.jpg`.

    Raises:
        ValueError: If a path does not exist, or a folder has no images.
    """
    # `Path.exists` raises PermissionError below unreadable folders; `os.path.exists` does not.
    missing = [name for name in named if not os.path.exists(name)]
    if missing:
        hint = near_path(Path(missing[0]))
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


def read_images(
    paths: Sequence[Path], image_shape: Any, skip_broken: bool = False, **limit: Any
) -> tuple[list[Path], list[np.ndarray]]:
    """Reads image files; imports Keras.

    Args:
        paths: Sequence of paths.
        image_shape: Tuple `(height, width, channels)` or `None`, as in `keras_vq.data.read_image`.
        skip_broken: Boolean. Whether to skip unreadable files with a warning. Defaults to `False`.
        **limit: `max_pixels` of `keras_vq.data.read_image`.

    Returns:
        Tuple of the list of paths that were read and the list of their pixel arrays.

    Raises:
        ValueError: If a file can't be read and is not skipped, or if no file can be read.
    """
    from keras_vq.data import read_image

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


def images_for(
    trained: Trained,
    image_shape: tuple[int, int, int],
    named: Sequence[str] | None,
    test: bool,
    count: int,
    **options: Any,
) -> np.ndarray:
    """Returns images for a model, from given files or else from the data set of its run.

    Args:
        trained: The model.
        image_shape: Tuple `(height, width, channels)`. Input shape of the model.
        named: Sequence of file and folder names, or `None`.
        test: Boolean. Whether to take test images of the run instead of training images.
        count: Integer. Maximum number of images.
        **options: Keyword arguments of `read_images`.

    Returns:
        Float32 array of shape `(n, height, width, channels)`, in [0, 1].

    Raises:
        ValueError: If there are no images, or they can't be read.
    """
    import numpy as np

    from keras_vq_cli.pipeline import load_images

    if named:
        return np.stack(read_images(image_files(named)[:count], image_shape, **options)[1])
    if "settings" not in trained.config:
        raise ValueError(
            "Without a run folder, the data set of the model is unknown. Pass images with "
            f"--images IMG.... Received: {trained.model_file}"
        )
    sets = load_images(settings_of(trained.config), progress=True)
    return sets[1 if test else 0].take(count).images
