"""Entry point of exports: checks of arguments and dispatch to the formats."""

import os
import shutil
import threading
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation, backend
from keras_vq._extras import is_missing, require
from keras_vq._files import is_unfinished
from keras_vq._inputs import as_array
from keras_vq.export import litert, onnx, openvino, saved_model, tensorflow_process
from keras_vq.export.errors import ExportError
from keras_vq.export.signatures import Signature
from keras_vq.export.staging import next_version, staged

PRECISIONS: dict[str, tuple[str, ...]] = {
    "tf_saved_model": ("float32",),
    "litert": (
        "float32",
        "float16",
        "int8_weights",
        "int8_dynamic",
        "int8_convolutions",
        "int16_convolutions",
        "int8_full",
    ),
    "onnx": ("float32",),
    "openvino": ("float32", "float16"),
}
"""Precisions of each export format, the default first."""

FORMATS = tuple(PRECISIONS)
"""Export formats of `model.export`."""

# Formats written by TensorFlow, with the extra of keras-vq that installs the requirements.
_OF_TENSORFLOW = {"tf_saved_model": "saved-model", "litert": "litert"}
_BY_ACTIVATIONS = ("int8_convolutions", "int16_convolutions", "int8_full")
_CALIBRATION_ROWS = 128
_HALF_POLICIES = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")

# One export at a time, because jax2onnx patches the functions of JAX while it converts.
ONE_EXPORT = threading.RLock()


def export_model(
    model: keras.Model,
    signatures: list[Signature],
    path: str | os.PathLike[str],
    format: str = "tf_saved_model",
    precision: str = "float32",
    calibration_inputs: Any = None,
    overwrite: bool = False,
) -> Path:
    """Exports a model for inference outside Keras. See `ReconstructionModel.export`.

    Args:
        model: Built model.
        signatures: List of `Signature`. Functions to export.
        path: Path of the file or folder to write.
        format: String. One of `FORMATS`. Defaults to `"tf_saved_model"`.
        precision: String. One of `PRECISIONS[format]`. Defaults to `"float32"`.
        calibration_inputs: Array or data set of inputs that set the ranges of quantized
            activations. Defaults to None.
        overwrite: Boolean. Whether to replace an existing export. Defaults to False.

    Returns:
        Path of the file, the folder, or the version folder of a SavedModel.

    Raises:
        ValueError: If an argument is invalid, or `path` exists and can't be replaced.
        ExportError: If the format does not support the model.
        ImportError: If a required package is missing.

    Example:
        >>> import keras_vq
        >>> from tempfile import TemporaryDirectory
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
        >>> with TemporaryDirectory() as folder:
        ...     path = keras_vq.export.export_model(model, model.signatures(), f"{folder}/digits")
        >>> path.name  # a version of TensorFlow Serving
        '1'
    """
    _validation.check_choice("format", format, FORMATS)
    _validation.check_choice("precision", precision, PRECISIONS[format])
    calibration_inputs = _calibration_inputs(precision, calibration_inputs)
    if precision == "int8_full":
        warnings.warn(
            "`precision='int8_full'` also computes the distances to code vectors in int8, which "
            "produces ties: only 37 % of the codes of the preset vqvae_mnist are unchanged. Use "
            "'int8_convolutions' for a file of the same size with distances in float32.",
            stacklevel=3,
        )
    target = _target(Path(path), format, overwrite)
    with ONE_EXPORT, staged(target) as beside:
        if backend.exports_native_saved_models():
            _write(model, signatures, beside, format, precision, calibration_inputs)
        elif format in _OF_TENSORFLOW:
            require(("tensorflow",), _OF_TENSORFLOW[format], f"The format {format}")
            tensorflow_process.write(model, beside, format, precision, calibration_inputs)
        else:
            try:
                _write(model, signatures, beside, format, precision, calibration_inputs)
            except ExportError:
                # The converter of TensorFlow may support operations that the one of this backend
                # lacks.
                if is_missing("tensorflow") or is_missing("tf2onnx"):
                    raise
                shutil.rmtree(beside, ignore_errors=True)
                tensorflow_process.write(model, beside, format, precision, None)
    return target


def _write(
    model: keras.Model,
    signatures: list[Signature],
    path: Path,
    format: str,
    precision: str,
    calibration_inputs: np.ndarray | None,
) -> None:
    computes_in = {layer.compute_dtype for layer in backend.nested_layers(model)}
    # LiteRT computes in float32; convolutions of ONNX do not support bfloat16.
    unknown = {"float16", "bfloat16"} if format == "litert" else {"bfloat16"}
    if format != "tf_saved_model" and computes_in & unknown:
        model = _in_float32(model)
        signatures = model.signatures()  # with the methods of the copy
    if format == "tf_saved_model":
        saved_model.write(model, signatures, path)
    elif format == "litert":
        litert.write(model, signatures, path, precision, calibration_inputs)
    elif format == "onnx":
        onnx.write(model, signatures, path)
    else:
        openvino.write(model, signatures, path, halve_weights=precision == "float16")


def _in_float32(model: keras.Model) -> keras.Model:
    """Returns a copy of the model that computes in float32."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: changed(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(changed(inner) for inner in value)
        return "float32" if value in _HALF_POLICIES else value

    config = changed(keras.saving.serialize_keras_object(model))
    config.pop("compile_config", None)
    copy = keras.saving.deserialize_keras_object(config)
    for new, old in zip(copy.weights, model.weights, strict=True):
        new.assign(keras.ops.cast(old, new.dtype))
    return copy


def _calibration_inputs(precision: str, inputs: Any) -> np.ndarray | None:
    if precision not in _BY_ACTIVATIONS:
        return None
    if inputs is None:
        raise ValueError(
            f"`calibration_inputs` must be inputs for `precision={precision!r}`. Pass about "
            f"{_CALIBRATION_ROWS} training inputs. Received: None"
        )
    inputs = as_array("calibration_inputs", inputs, _CALIBRATION_ROWS)
    return np.asarray(ops.convert_to_numpy(inputs[:_CALIBRATION_ROWS]), "float32")


def _target(path: Path, format: str, overwrite: bool) -> Path:
    """Returns the path to write to, after a check of existing files."""
    if format == "litert" and path.suffix != ".tflite":
        raise ValueError(
            f"`filepath` of a LiteRT file must end in .tflite. Received: {str(path)!r}"
        )
    if format == "tf_saved_model":
        # Layout of TensorFlow Serving: old versions are kept, and a server loads the newest one.
        others = [] if not path.is_dir() else [p.name for p in path.iterdir() if not _is_version(p)]
        if path.is_file() or others:
            held = f", which contains {others[0]!r}" if others else ", a file"
            raise ValueError(
                "`filepath` must be a new folder, or a folder that contains only numbered versions "
                f"of a SavedModel. Received: {str(path)!r}{held}"
            )
        return next_version(path)
    if path.exists() and not overwrite:
        raise ValueError(
            "`filepath` already exists. Pass `overwrite=True` to replace it. "
            f"Received: {str(path)!r}"
        )
    is_replaceable = path.is_file() if format == "litert" else _is_export(path)
    if path.exists() and not is_replaceable:
        raise ValueError(
            f"`filepath` must be an export in the format {format} to be replaced. Choose another "
            f"path. Received: {str(path)!r}"
        )
    return path


def _is_version(path: Path) -> bool:
    return (path.is_dir() and path.name.isdigit()) or is_unfinished(path)


def _is_export(path: Path) -> bool:
    suffixes = (".onnx", ".xml", ".bin", ".json")
    return path.is_dir() and all(
        file.is_file() and file.suffix in suffixes for file in path.iterdir()
    )
