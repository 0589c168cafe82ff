"""Descriptions of models: sizes, codes, preprocessing and origin."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_vq_cli import console, files, models, runs

if TYPE_CHECKING:
    import keras

# Example inputs of models of any size.
_SIDE = 256
_LENGTH = 16_000
_ORIGIN = ("source", "family")
_RUN = ("dataset", "train_images", "command")
_PRESET = ("data", "training", "command")


def describe(source: models.Source, model: keras.Model) -> dict[str, Any]:
    """Describes a loaded model.

    Args:
        source: Its source.
        model: The model.

    Returns:
        Dictionary of values that JSON can represent: those of `keras_vq.models.describe`, with
        `provenance` divided into `preprocessing` and `origin`, the bits per dimension and per
        second, and the size of the file. For inputs of any size, numbers are those of an input of
        shape `example_shape`: 256 x 256 pixels or one second of sound.
    """
    import keras_vq

    about = keras_vq.models.describe(model)
    provenance = about["provenance"] or {}
    shape = about["input_shape"] or []
    if None in shape and hasattr(model, "quantizer"):
        shape = _example_shape(shape, provenance)
        about = keras_vq.models.describe(model, tuple(shape)) | {"example_shape": shape}
    del about["provenance"]
    bits = about.get("bits_per_input")
    if bits is not None:
        about["bits_per_dimension"] = bits / math.prod(shape)
        if "sample_rate" in provenance:
            about["bits_per_second"] = bits * provenance["sample_rate"] / shape[0]
    return {
        "model": source.name,
        **about,
        "file_bytes": file_bytes(source),
        "preprocessing": {k: v for k, v in provenance.items() if k not in _ORIGIN} or None,
        "origin": {k: v for k, v in provenance.items() if k in _ORIGIN} or _local_origin(source),
    }


def table(record: dict[str, Any]) -> Any:
    """Returns a rich table of a description."""
    shown = dict(record)
    for key in ("input_shape", "example_shape", "code_shape", "latent_shape"):
        if key in record:
            shown[key] = _shape(record[key])
    if record["file_bytes"] is not None:
        shown["file_bytes"] = files.size(record["file_bytes"])
    return console.facts(shown)


def _shape(shape: Any) -> str:
    if shape and isinstance(shape[0], list):  # of several scales
        return ", ".join(map(_shape, shape))
    return " x ".join("any" if size is None else str(size) for size in shape or ["unknown"])


def _example_shape(shape: list[int | None], provenance: dict[str, Any]) -> list[int]:
    axes = len(shape) - 1
    default = [provenance.get("sample_rate", _LENGTH)] if axes == 1 else [_SIDE] * axes
    return [size or other for size, other in zip(shape, [*default, 1], strict=True)]


def file_bytes(source: models.Source) -> int | None:
    """Returns the size of the model file, or of the weights in a folder of another library."""
    path = source.model_file if source.pretrained is None else Path(source.pretrained)
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*.safetensors"))
    return path.stat().st_size if path.is_file() else None


def _local_origin(source: models.Source) -> dict[str, Any] | None:
    """Returns how a model was trained, from the record of its run or preset."""
    folder = source.model_file.parent
    if source.pretrained is not None:
        return None
    if source.config:
        record, keys = runs.read_record(folder), _RUN
    elif source.is_preset:
        record, keys = files.read_json(folder / models.PRESET_RECORD), _PRESET
    else:
        return None
    return {key: record[key] for key in keys if key in record} or None
