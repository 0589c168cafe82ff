"""Search for models by the fingerprint of their weights.

Fingerprints are read from `preset.json` or from a member of a `.keras` file, without loading the
model. `ImageCodec` checks the fingerprint of the loaded model.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from keras_vq_cli import files, models, runs

if TYPE_CHECKING:
    import keras

_MEMBER = "fingerprint.txt"
_MOST_BYTES = 2**20
# Limits the time of a search in very large folders.
_MOST_FILES = 1000


def find_model(wanted: bytes, beside: Path) -> models.Source | None:
    """Returns the preset, run or `.keras` file with a given fingerprint, or `None`.

    Searches the presets of the package, then the runs and presets in ./runs, then the runs, presets
    and `.keras` files in `beside`.

    Args:
        wanted: Bytes. The fingerprint.
        beside: Path of a folder.
    """
    for name, folder in models.presets().items():
        if stored(folder / "model.keras") == wanted:
            return models.Source(name, folder / "model.keras", {})
    for place in (Path("runs"), beside):
        for folder in (place, *_entries(place)):
            if stored(folder / "model.keras") == wanted:
                is_run = (folder / runs.CONFIG).is_file()
                if is_run:
                    return models.of_run(folder)
                return models.Source(folder.resolve().name, folder / "model.keras", {})
    file = find_file(wanted, (beside,))
    return None if file is None else models.named(str(file))


def write_origin(export: Path, model: keras.Model, name: str) -> None:
    """Writes the fingerprint and name of an exported model into the export folder or beside it.

    Args:
        export: Path of the exported file or folder.
        model: The exported model.
        name: String. Display name of the model.
    """
    from keras_vq._fingerprint import fingerprint

    files.write_json(_origin_file(export), {"fingerprint": fingerprint(model).hex(), "model": name})


def find_model_of_export(export: Path) -> tuple[models.Source | None, str]:
    """Returns the model that an export was made from, or `None`, and its recorded name."""
    try:
        file = _origin_file(export)
        if file.stat().st_size > _MOST_BYTES:
            return None, ""
        content = json.loads(file.read_bytes())
        wanted, name = bytes.fromhex(content["fingerprint"]), str(content["model"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, ""
    return find_model(wanted, export.parent), name


def _origin_file(export: Path) -> Path:
    if export.is_dir():
        return export / "model.json"
    return export.with_name(f"{export.name}.model.json")


def find_file(wanted: bytes, folders: Iterable[Path]) -> Path | None:
    """Returns the first `.keras` file in the folders with a given fingerprint, or `None`."""
    for folder in folders:
        for path in _entries(folder):
            if path.suffix == ".keras" and stored(path) == wanted:
                return path
    return None


def stored(path: Path) -> bytes | None:
    """Returns the fingerprint stored in or beside a `.keras` file, or `None`."""
    record = path.with_name("preset.json")
    try:
        if not path.is_file():
            return None
        if path.name == "model.keras" and record.is_file():
            if record.stat().st_size > _MOST_BYTES:
                return None
            content = json.loads(record.read_bytes())
            return bytes.fromhex(content["fingerprint"])
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_MEMBER).file_size > _MOST_BYTES:
                return None
            return bytes.fromhex(archive.read(_MEMBER).decode("ascii"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile):
        return None
    except (NotImplementedError, RuntimeError, zlib.error):  # unsupported compression, encryption
        return None


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())[:_MOST_FILES]
    except OSError:
        return []
