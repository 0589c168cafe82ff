"""Lookup of trained models by command line arguments."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from keras_vq_cli import backend, console, files, interrupts, runs
from keras_vq_cli.options import COUNT, POSITIVE, Integers, did_you_mean, option

if TYPE_CHECKING:
    import keras

PRESET_RECORD = "preset.json"
_WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".pkl")


class Source(NamedTuple):
    """File of a trained model, and the configuration of its training run."""

    name: str
    model_file: Path
    config: dict[str, Any] = {}  # empty without a run  # noqa: RUF012
    pretrained: str | None = None  # source of `keras_vq.from_pretrained`

    @property
    def backend(self) -> str | None:
        """Backend of the training run, or `None` if unknown."""
        return self.config.get("backend")

    @property
    def is_preset(self) -> bool:
        """True for presets of the package and of `save_to_preset`."""
        return self.model_file.with_name(PRESET_RECORD).is_file()

    @property
    def folder(self) -> Path:
        """Folder for derived files; for a preset of the package, a folder of its name."""
        if self.is_preset and self.model_file.parent in presets().values():
            return Path(self.name)
        return self.model_file.parent

    def load(
        self, preferred: str | None = None, input_shape: tuple[int, ...] = (256, 256, 3)
    ) -> keras.Model:
        """Imports Keras, by default on the backend of the run, and loads the model, uncompiled.

        Args:
            preferred: String or `None`. Backend to use instead, unless --backend is given.
            input_shape: Tuple. Shape of the images of a model of another library, which has none
                of its own. Defaults to (256, 256, 3).

        Raises:
            ValueError: If the file is corrupt, does not match the record of the preset, or holds no
                model of keras_vq that takes images.
        """
        return self._load(preferred, input_shape, of_images=True)

    def load_any(self, **conversion: Any) -> keras.Model:
        """Loads a model of images or other inputs; see `load`.

        Args:
            **conversion: Arguments of `keras_vq.from_pretrained` for a model of another library.

        Raises:
            ValueError: If the model can't be loaded, or an argument does not apply to it.
        """
        given = [name for name, value in conversion.items() if value is not None]
        if given and self.pretrained is None:
            raise ValueError(
                f"--{given[0].replace('_', '-')} requires a model of another library. "
                f"Received: {self.name}"
            )
        return self._load(None, **conversion)

    def _load(
        self,
        preferred: str | None,
        input_shape: tuple[int, ...] | None = None,
        of_images: bool = False,
        **conversion: Any,
    ) -> keras.Model:
        backend.import_keras(preferred or self.backend)
        import keras_vq

        kind = keras_vq.models.ReconstructionModel
        if self.pretrained is not None:
            console.message(f"Reading {files.shown(self.pretrained)} ...")
            model = keras_vq.from_pretrained(self.pretrained, input_shape=input_shape, **conversion)
        elif self.is_preset:
            model = kind.from_preset(self.model_file.parent)
        else:
            model = keras_vq.load_model(self.model_file, compile=False)
        interrupts.check()
        wanted = "model of images" if of_images else "model"
        if not isinstance(model, kind) or (of_images and len(model.input_shape or ()) != 4):
            raise ValueError(
                f"{self.pretrained or self.model_file} must contain a keras_vq {wanted}, such as a "
                f"VQVAE. Received: {type(model).__name__}"
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
    return {folder.name: folder for folder in folders if (folder / PRESET_RECORD).is_file()}


def named(name: str) -> Source:
    """Returns the model of a run folder, `.keras` file, preset, or source of another library.

    A folder without a model does not hide a preset of the same name. Sources of another library are
    those of `keras_vq.from_pretrained`.

    Raises:
        ValueError: If there is no such model, or the run has no model yet.
    """
    path = Path(name)
    if path.suffix == ".keras" and path.is_file():
        return Source(path.stem, path)
    if (path / runs.CONFIG).is_file():
        return of_run(path)
    if name.startswith("hf://") or _is_foreign(path):
        stem = path.resolve().stem if path.exists() else path.name
        return Source(stem, Path(stem) / "model", pretrained=name)
    if (path / PRESET_RECORD).is_file() and (path / "model.keras").is_file():
        return Source(path.resolve().name, path / "model.keras")
    known = presets()
    if name in known:
        return Source(name, known[name] / "model.keras")
    hint = did_you_mean(name, known) or near_path(path, _may_be_a_model)
    reason = "a folder without config.yaml" if path.is_dir() else "no such file or folder"
    if path.is_file():
        reason = "not a .keras file"
    raise ValueError(
        "The model must be a run folder of keras-vq train, a .keras file, a folder of another "
        f"library, hf://OWNER/NAME, or a preset ({', '.join(known) or 'none is installed'}).{hint} "
        f"Received: {name} ({reason})"
    )


def _is_foreign(path: Path) -> bool:
    """Returns true for weights of another library, or a folder with them or a configuration.

    Pickle files are included, because the error of `from_pretrained` has the command that converts
    them.
    """
    if not path.is_dir():
        return path.is_file() and _is_weights(path)
    parts = (path, *(path / name for name in ("vae", "vqvae", "movq")))
    return not (path / "model.keras").exists() and any(
        (part / "config.json").is_file() or any(map(_is_weights, _entries(part))) for part in parts
    )


def _is_weights(path: Path) -> bool:
    return path.suffix in _WEIGHT_SUFFIXES


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def of_run(folder: Path) -> Source:
    """Returns the model of a run folder.

    Raises:
        ValueError: If the folder is not a run folder, or has no model yet.
    """
    config = runs.read_config(folder)
    if not (folder / "model.keras").is_file():
        raise ValueError(
            "The run has no model because its first epoch is not complete. Resume it with: "
            f"keras-vq train --resume --out {shlex.quote(str(folder))}"
        )
    return Source(folder.resolve().name, folder / "model.keras", config)


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


class ModelType(click.ParamType):
    """Parameter that names a model; its value is a `Source`."""

    name = "model"

    def convert(self, value: Any, param: Any, ctx: Any) -> Source:
        """Looks the model up; see `named`."""
        return value if isinstance(value, Source) else named(value)


_KINDS = "run folder, .keras file, preset, folder of another library, or hf://OWNER/NAME"


def model_argument(function: Any) -> Any:
    """Adds the argument MODEL, passed as a `Source`."""
    return click.argument("model", metavar="MODEL", type=ModelType())(function)


def conversion_options(default_shape: str) -> Callable[[Any], Any]:
    """Adds the options of models of other libraries, for `Source.load_any`.

    Args:
        default_shape: String. Description of the default of --input-shape.
    """
    added = (
        option(
            "--input-shape",
            type=Integers(),
            help="Shape of one input of a model of another library, such as 256,256,3.  "
            f"[default: {default_shape}]",
        ),
        option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Configuration of a model of another library (JSON).  [default: config.json "
            "beside the weights]",
        ),
        option(
            "--stages",
            type=COUNT,
            help="Number of residual stages of a codec of sound, of which the first are used.  "
            "[default: all]",
        ),
        option(
            "--bandwidth",
            type=POSITIVE,
            help="Kilobits per second of a codec of sound, instead of --stages.",
        ),
    )

    def add(function: Any) -> Any:
        for each in reversed(added):
            function = each(function)
        return function

    return add


def model_option(default: str, **settings: Any) -> Callable[[Any], Any]:
    """Adds the option --model, passed as a `Source`.

    Args:
        default: String. Description of the model that is used without the option, or "" if there
            is none.
        **settings: Keyword arguments of `click.option`.
    """
    text = f"Trained model: {_KINDS}." + (f"  [default: {default}]" if default else "")
    return option("--model", metavar="MODEL", type=ModelType(), help=text, **settings)
