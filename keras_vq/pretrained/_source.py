"""Reading of a source: a folder or a safetensors file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors

from keras_vq import _archives
from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._family import shortened

CONFIG_FILE = "config.json"
# Folders of the autoencoder in a diffusers pipeline, in order of preference.
SUBFOLDERS = ("vae", "vqvae", "movq")
# The first one is the name that diffusers writes.
WEIGHT_FILES = ("diffusion_pytorch_model.safetensors", "model.safetensors")
SUFFIX = ".safetensors"
INDEX_SUFFIX = ".index.json"
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "uint16",  # NumPy has no bfloat16: the upper half of a float32
    "I64": "int64",
    "I32": "int32",
    "U8": "uint8",
    "BOOL": "bool",
}


class Checkpoint(NamedTuple):
    """Configuration and tensors of a source, in the layout of the source."""

    config: dict[str, Any]
    tensors: dict[str, np.ndarray]


def read(path: Path, config: Any = None) -> Checkpoint:
    """Reads the configuration and all tensors of a source.

    Args:
        path: Path of a folder or a file; see `from_pretrained`.
        config: Dictionary, path of a JSON file, or `None` for the configuration in the folder.
            Defaults to `None`.

    Raises:
        ConversionError: If files are missing or damaged, or the weights are a pickle file.
    """
    if path.suffix in PICKLES:
        raise pickle_error(path)
    if path.is_dir():
        return _read_folder(path, config)
    if not path.is_file():
        raise ConversionError(
            "`source` must be a folder, a .safetensors file or hf://owner/name. "
            f"Received: {str(path)!r}, which does not exist"
        )
    if path.suffix != SUFFIX:
        raise ConversionError(
            f"{str(path)!r} must be a safetensors file. "
            f"Received: a file with the suffix {path.suffix!r}"
        )
    return Checkpoint(_configuration(config, path.parent), _read_tensors(path))


def _read_folder(folder: Path, config: Any) -> Checkpoint:
    candidates = (folder, *(folder / name for name in SUBFOLDERS))
    folder = next((each for each in candidates if (each / CONFIG_FILE).is_file()), folder)
    tensors: dict[str, np.ndarray] = {}
    for path in _weight_files(folder):
        part = _read_tensors(path)
        repeated = sorted(set(part) & set(tensors))
        if repeated:
            raise ConversionError(
                f"The files in {str(folder)!r} must contain each tensor once. "
                f"Received: several tensors {', '.join(repeated[:5])}"
            )
        tensors.update(part)
    return Checkpoint(_configuration(config, folder), tensors)


def _configuration(config: Any, folder: Path) -> dict[str, Any]:
    """Returns the given configuration, or that of a folder, if any."""
    if isinstance(config, Mapping):
        return dict(config)
    if config is None:
        own = folder / CONFIG_FILE
        return _read_json(own) if own.is_file() else {}
    if not isinstance(config, (str, os.PathLike)):
        raise ConversionError(
            f"`config` must be a dictionary or the path of a JSON file. Received: {config!r}"
        )
    return _read_json(Path(config))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_archives.MAX_JSON_BYTES + 1)
        if len(text) > _archives.MAX_JSON_BYTES:
            raise _archives.ArchiveError(f"more than {_archives.MAX_JSON_BYTES:,} bytes")
        value = _archives.parse_json(path.name, text)
    except (_archives.ArchiveError, OSError) as error:
        raise ConversionError(f"{str(path)!r} must be a JSON file. Received: {error}") from error
    if not isinstance(value, dict):
        raise ConversionError(
            f"{str(path)!r} must be a JSON object. Received: {type(value).__name__}"
        )
    return value


def _weight_files(folder: Path) -> list[Path]:
    """Returns the safetensors files of a folder: one file, or the parts of an index file."""
    present = sorted(path.name for path in folder.iterdir())
    for name in WEIGHT_FILES:
        if name in present:
            return [folder / name]
        index = f"{name}{INDEX_SUFFIX}"
        if index in present:
            return _indexed(folder / index)
    found = [name for name in present if name.endswith(SUFFIX)]
    if len(found) == 1:
        return [folder / found[0]]
    if found:
        raise ConversionError(
            f"{str(folder)!r} must contain one of {', '.join(WEIGHT_FILES)}, or a single "
            f"safetensors file. Pass the path of one file, and `config`. Received: "
            f"{', '.join(found)}"
        )
    pickles = [name for name in present if name.endswith(PICKLES)]
    if pickles:
        raise pickle_error(folder / pickles[0])
    raise ConversionError(
        f"{str(folder)!r} must contain a .safetensors file. "
        f"Received: {', '.join(present) or 'an empty folder'}"
    )


def shards(index: Path) -> list[str]:
    """Returns the names of the files that an index file lists, all in its folder.

    Raises:
        ConversionError: If the index has no `weight_map` of tensor names to file names.
    """
    mapped = _read_json(index).get("weight_map")
    named = list(mapped.values()) if isinstance(mapped, dict) else []
    if not named or not all(
        isinstance(name, str) and name.endswith(SUFFIX) and Path(name).name == name
        for name in named
    ):
        raise ConversionError(
            f"{str(index)!r} must have a `weight_map`, a dictionary of safetensors files in its "
            f"folder by tensor name. Received: {shortened(mapped)}"
        )
    return sorted(set(named))


def _indexed(index: Path) -> list[Path]:
    """Returns the files that an index lists, all of which must exist."""
    paths = [index.parent / name for name in shards(index)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ConversionError(
            f"{str(index.parent)!r} must contain the files that {index.name} lists. "
            f"Missing: {', '.join(missing[:5])}"
        )
    return paths


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Reads all tensors of a safetensors file."""
    try:
        entries = safetensors.deserialize(path.read_bytes())
    except (safetensors.SafetensorError, ValueError) as error:
        raise ConversionError(
            f"{str(path)!r} must be a complete safetensors file. Copy the file again. "
            f"Received: {error}"
        ) from error
    unknown = sorted({entry["dtype"] for _, entry in entries} - set(_DTYPES))
    if unknown:
        raise ConversionError(
            f"{str(path)!r} must contain tensors of the types {', '.join(_DTYPES)}. "
            f"Received: {', '.join(unknown)}"
        )
    return {name: _array(entry) for name, entry in entries}


def _array(entry: dict[str, Any]) -> np.ndarray:
    array = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":
        return (array.astype("uint32") << 16).view("float32")
    return array


def pickle_error(path: Path) -> ConversionError:
    """Returns the error for a pickle file, with the command that converts it."""
    name, target = path.name, path.with_suffix(SUFFIX).name
    return ConversionError(
        f"{str(path)!r} must be a safetensors file, because a pickle file can run code. If you "
        'trust it, convert it with PyTorch: python -c "import torch, safetensors.torch as s; w = '
        f"torch.load({name!r}, map_location='cpu', weights_only=True); w = w.get('state_dict', w); "
        "s.save_file({k: v.clone().contiguous() for k, v in w.items() if "
        f'isinstance(v, torch.Tensor)}}, {target!r})". '
        f"Received: a file with the suffix {path.suffix!r}"
    )
