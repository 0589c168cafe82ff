"""Reading of a source: a folder, a safetensors file, or a repository of the Hugging Face Hub."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors

from keras_vq import _archives
from keras_vq.pretrained._errors import ConversionError

CONFIG_FILE = "config.json"
HUB_PREFIX = "hf://"
# Folders of the autoencoder in a diffusers pipeline, in order of preference.
_SUBFOLDERS = ("vae", "vqvae", "movq")
# The first one is the name that diffusers writes.
WEIGHT_FILES = ("diffusion_pytorch_model.safetensors", "model.safetensors")
_SUFFIX = ".safetensors"
_INDEX_SUFFIX = ".safetensors.index.json"
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
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


def read(source: str | os.PathLike[str], config: Any = None) -> Checkpoint:
    """Reads the configuration and all tensors of a source.

    Args:
        source: String or path; see `from_pretrained`.
        config: Dictionary, path of a JSON file, or `None` for the configuration in the folder.
            Defaults to `None`.

    Raises:
        ConversionError: If files are missing or damaged, or the weights are a pickle file.
    """
    text = os.fspath(source)
    if text.startswith(HUB_PREFIX):
        return _read_folder(_download(text), config)
    path = Path(text)
    if path.suffix in _PICKLES:
        raise _pickle_error(path)
    if path.is_dir():
        return _read_folder(path, config)
    if not path.is_file():
        raise ConversionError(
            "`source` must be a folder, a .safetensors file or hf://owner/name. "
            f"Received: {text!r}, which does not exist"
        )
    if path.suffix != _SUFFIX:
        raise ConversionError(
            f"{text!r} must be a safetensors file. Received: a file with the suffix {path.suffix!r}"
        )
    return Checkpoint(_configuration(config) or {}, _read_tensors(path))


def _read_folder(folder: Path, config: Any) -> Checkpoint:
    if not (folder / CONFIG_FILE).is_file():
        folder = next(
            (folder / name for name in _SUBFOLDERS if (folder / name / CONFIG_FILE).is_file()),
            folder,
        )
    own = folder / CONFIG_FILE
    known = _configuration(config)
    if known is None and own.is_file():
        known = _read_json(own)
    tensors: dict[str, np.ndarray] = {}
    for path in _weight_files(folder):
        tensors.update(_read_tensors(path))
    return Checkpoint(known or {}, tensors)


def _configuration(config: Any) -> dict[str, Any] | None:
    if config is None or isinstance(config, Mapping):
        return None if config is None else dict(config)
    return _read_json(Path(config))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            value = _archives.parse_json(path.name, file.read(_archives.MAX_JSON_BYTES))
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
        index = name.removesuffix(_SUFFIX) + _INDEX_SUFFIX
        if index in present:
            return _indexed(folder, index)
    found = [name for name in present if name.endswith(_SUFFIX)]
    if len(found) == 1:
        return [folder / found[0]]
    if found:
        raise ConversionError(
            f"{str(folder)!r} must contain one of {', '.join(WEIGHT_FILES)}, or a single "
            f"safetensors file. Pass the path of one file, and `config`. Received: "
            f"{', '.join(found)}"
        )
    pickles = [name for name in present if name.endswith(_PICKLES)]
    if pickles:
        raise _pickle_error(folder / pickles[0])
    raise ConversionError(
        f"{str(folder)!r} must contain a .safetensors file. "
        f"Received: {', '.join(present) or 'an empty folder'}"
    )


def _indexed(folder: Path, index: str) -> list[Path]:
    """Returns the files that an index names, all of which must be in the folder."""
    mapped = _read_json(folder / index).get("weight_map")
    names = sorted(set(mapped.values())) if isinstance(mapped, dict) else []
    present = {path.name for path in folder.iterdir()}
    missing = [str(name) for name in names if name not in present]
    if missing or not names:
        raise ConversionError(
            f"{str(folder)!r} must contain the files that {index} names. "
            f"Missing: {', '.join(missing) or 'a weight_map'}"
        )
    return [folder / name for name in names]


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


def _pickle_error(path: Path) -> ConversionError:
    name, target = path.name, path.with_suffix(_SUFFIX).name
    return ConversionError(
        f"{str(path)!r} must be a safetensors file, because a pickle file can run code. If you "
        'trust it, convert it with PyTorch: python -c "import torch, safetensors.torch as s; w = '
        f"torch.load({name!r}, map_location='cpu', weights_only=True); w = w.get('state_dict', w); "
        "s.save_file({k: v.contiguous() for k, v in w.items() if isinstance(v, torch.Tensor)}, "
        f'{target!r})". Received: a file with the suffix {path.suffix!r}'
    )


def _download(source: str) -> Path:
    """Downloads configuration and safetensors files of a repository, and returns their folder.

    Args:
        source: String. `hf://owner/name[@revision][/subfolder]`.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            f'{source!r} needs the package huggingface-hub. Install it: pip install "keras-vq[hub]"'
        ) from error
    owner, _, rest = source.removeprefix(HUB_PREFIX).partition("/")
    name, _, subfolder = rest.partition("/")
    name, _, revision = name.partition("@")
    if not owner or not name:
        raise ConversionError(
            f"`source` must be hf://owner/name[@revision][/subfolder]. Received: {source!r}"
        )
    below = f"{subfolder.strip('/')}/" if subfolder else ""
    folders = [below] if below else ["", *(f"{folder}/" for folder in _SUBFOLDERS)]
    wanted = [
        f"{folder}{kind}"
        for folder in folders
        for kind in (CONFIG_FILE, *WEIGHT_FILES, f"*{_INDEX_SUFFIX}", "*-of-*.safetensors")
    ]
    folder = huggingface_hub.snapshot_download(
        f"{owner}/{name}", revision=revision or None, allow_patterns=wanted
    )
    return Path(folder, *below.split("/"))
