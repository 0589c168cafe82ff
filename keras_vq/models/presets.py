"""Presets: folders with a trained model, some of them bundled with the package.

A preset folder contains two files: `model.keras`, without the optimizer, and `preset.json`, with
the class, the versions, the SHA-256 hash of the model file and optional details of the training.
"""

import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np

from keras_vq import _archives
from keras_vq._files import is_unfinished
from keras_vq._fingerprint import fingerprint
from keras_vq._spelling import did_you_mean
from keras_vq.export.staging import staged
from keras_vq.models.loading import load_model

MODEL_FILE = "model.keras"
RECORD_FILE = "preset.json"

_PACKAGE = Path(__file__).parents[1]
# Folder of the bundled presets in a wheel, and in a checkout.
_ROOTS = (_PACKAGE / "saved_models", _PACKAGE.parent / "saved_models")

Model = TypeVar("Model", bound=keras.Model)


def named_presets() -> dict[str, Path]:
    """Returns the folders of the bundled presets, by name."""
    root = next((root for root in _ROOTS if root.is_dir()), None)
    return {
        folder.name: folder
        for folder in (sorted(root.iterdir()) if root else [])
        if (folder / RECORD_FILE).is_file() and not is_unfinished(folder)
    }


class BundledPresets:
    """Class property with the records of the bundled presets of a class, by preset name."""

    def __get__(self, instance: Any, owner: type) -> dict[str, dict[str, Any]]:
        classes = _subclass_names(owner)
        records = {name: read_record(folder) for name, folder in named_presets().items()}
        return {name: record for name, record in records.items() if record["class"] in classes}


def _subclass_names(cls: type) -> set[str]:
    return {cls.__name__}.union(*map(_subclass_names, cls.__subclasses__()))


def load_preset(cls: type[Model], preset: str | os.PathLike[str]) -> Model:
    """Loads a preset whose class is `cls`; see `ReconstructionModel.from_preset`."""
    folder = _folder_of(preset)
    record = read_record(folder)
    path = folder / MODEL_FILE
    found = _sha256(path)
    if found != record.get("sha256"):
        raise ValueError(
            f"{str(path)!r} does not match {RECORD_FILE}: it was changed or truncated, or the two "
            "files are from different presets. Copy the whole folder again. "
            f"Received: a file of {path.stat().st_size} bytes with SHA-256 {found}. Expected: "
            f"{record.get('sha256')}"
        )
    model = load_model(path, compile=False)
    if not isinstance(model, cls):
        received = type(model).__name__
        raise ValueError(
            f"The preset {os.fspath(preset)!r} must be of class {cls.__name__}. Load it with "
            f"{received}.from_preset. Received: class {received}"
        )
    return model


def save_preset(
    model: keras.Model,
    folder: str | os.PathLike[str],
    figures: Mapping[str, Any] | None = None,
    description: str | None = None,
    overwrite: bool = False,
    details: Mapping[str, Any] | None = None,
) -> Path:
    """Saves a preset; see `ReconstructionModel.save_to_preset`.

    Args:
        model: A built model.
        folder: Path of a new or empty folder.
        figures: Dictionary of measured results, by name. Defaults to `None`.
        description: String. Description of the model. Defaults to `None`.
        overwrite: Boolean. Whether to replace an existing preset. Defaults to `False`.
        details: Dictionary of further entries of `preset.json`, such as the seed, the command and
            the dataset; its values must be serializable as JSON. Defaults to `None`.

    Returns:
        The folder.

    Raises:
        ValueError: If the model is not built, an argument is invalid, or the folder is in use.
    """
    if not model.built:
        raise ValueError(
            f"{type(model).__name__} must be built. Fit the model, or call it on a batch. "
            "Received: an unbuilt model"
        )
    record = {
        "class": type(model).__name__,
        "description": description,
        "figures": _as_figures(figures),
        **(details or {}),
        "versions": {"keras": keras.__version__, "keras_vq": _version()},
    }
    folder = Path(folder)
    target = _free_target(folder, overwrite)
    with staged(target) as beside:
        if target.is_dir():
            # Keeps other files that the user added to the folder, such as a README.
            old = shutil.ignore_patterns(MODEL_FILE, RECORD_FILE)
            shutil.copytree(target, beside, ignore=old)
        else:
            beside.mkdir()
        _write_model(model, beside / MODEL_FILE)
        record["sha256"] = _sha256(beside / MODEL_FILE)
        record["fingerprint"] = fingerprint(model).hex()
        (beside / RECORD_FILE).write_text(
            json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
    return folder


def read_record(folder: Path) -> dict[str, Any]:
    """Reads `preset.json` from the folder of a preset.

    Raises:
        ValueError: If a file of the preset is missing, or `preset.json` is damaged.
    """
    missing = [name for name in (MODEL_FILE, RECORD_FILE) if not (folder / name).is_file()]
    if missing:
        held = ", ".join(repr(path.name) for path in sorted(folder.iterdir())) or "nothing"
        raise ValueError(
            f"`preset` must be a folder with {MODEL_FILE} and {RECORD_FILE}, written by "
            f"`save_to_preset`. Load a single .keras file with keras_vq.load_model. Received: "
            f"{str(folder)!r}, without {' and '.join(missing)}; it contains {held}"
        )
    with (folder / RECORD_FILE).open("rb") as file:
        text = file.read(_archives.MAX_JSON_BYTES)
    try:
        record = _archives.parse_json(RECORD_FILE, text)
    except _archives.ArchiveError:
        record = None
    if not isinstance(record, dict):
        raise ValueError(
            f"{str(folder / RECORD_FILE)!r} must be a JSON object. Copy the whole folder again. "
            f"Received: {len(text)} bytes of another format"
        )
    return record


def _folder_of(preset: str | os.PathLike[str]) -> Path:
    named = named_presets()
    if isinstance(preset, str) and preset in named:
        return named[preset]
    if not isinstance(preset, str | os.PathLike):
        raise ValueError(f"`preset` must be a name or a folder. Received: {preset!r}")
    if "://" in os.fspath(preset):
        raise ValueError(
            "`preset` must be a name or a folder, because downloads are not supported. "
            f"Received: {os.fspath(preset)!r}. Download the folder, and pass its path."
        )
    folder = Path(preset)
    if folder.is_dir():
        return folder
    kind = "a file" if folder.is_file() else "neither a name nor a folder"
    hint = "" if folder.is_file() else did_you_mean(str(folder), named, most=1)
    raise ValueError(
        f"`preset` must be one of the names {', '.join(named) or '(none is installed)'}, or a "
        "folder written by `save_to_preset`. Load a single .keras file with "
        f"keras_vq.load_model.{hint} Received: {os.fspath(preset)!r}, which is {kind}"
    )


def _free_target(folder: Path, overwrite: bool) -> Path:
    """Returns the resolved path of a folder to which a preset may be written.

    Raises:
        ValueError: If the folder contains other files, or a preset that must not be overwritten.
    """
    # Resolved, so that a symbolic link to a folder stays one.
    target = folder.resolve()
    if target.is_dir() and any(target.iterdir()):
        if not (target / RECORD_FILE).is_file():
            raise ValueError(
                "`folder` must be new or empty, or contain a preset to replace. "
                f"Received: {str(folder)!r}, which contains other files"
            )
        if not overwrite:
            raise ValueError(
                "`folder` already contains a preset. Pass `overwrite=True` to replace it. "
                f"Received: {str(folder)!r}"
            )
    elif target.exists() and not target.is_dir():
        raise ValueError(f"`folder` must be a folder. Received: the file {str(folder)!r}")
    return target


def _write_model(model: keras.Model, path: Path) -> None:
    """Saves a model without the state of its optimizer, which would triple the file size."""
    compiled = path.with_name(f"compiled_{path.name}")
    model.save(compiled)
    # Loading it drops the optimizer and checks that the file can be loaded.
    load_model(compiled, compile=False).save(path)
    compiled.unlink()


def _as_figures(figures: Mapping[str, Any] | None) -> dict[str, int | float | str]:
    if figures is not None and not isinstance(figures, Mapping):
        raise ValueError(f"`figures` must be a dictionary. Received: {figures!r}")
    plain = {}
    for name, value in (figures or {}).items():
        # The `json` module cannot serialize NumPy scalars.
        number = value.item() if isinstance(value, np.generic) else value
        is_finite = isinstance(number, int | float) and math.isfinite(number)
        if not isinstance(name, str) or not (is_finite or isinstance(number, str)):
            raise ValueError(
                "The values of `figures` must be finite numbers or strings. "
                f"Received: {name!r}: {value!r}"
            )
        plain[name] = number
    return plain


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version() -> str:
    # An import of the root package would be circular.
    return sys.modules["keras_vq"].__version__
