"""Verification of exported models against the Keras model."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vq._files import whole_file
from keras_vq.export import foreign, trial
from keras_vq.export.errors import ExportError, last_words


class Report(NamedTuple):
    """Comparison of the outputs of an exported model with those of the Keras model.

    Fractions are in [0, 1]. Values for codes are None for a model without a codebook.

    Example:
        >>> from keras_vq.export import Report
        >>> values = dict.fromkeys(Report._fields)  # `verify` measures them
        >>> report = Report(**{**values, "format": "litert", "codes_agree": 1.0})
        >>> report.codes_agree
        1.0
    """

    format: str
    inputs: int
    # Largest absolute difference of outputs of `decode`, for equal codes or latents; of outputs of
    # `serving_default`, for inputs whose codes agree; and of latents, for a model without codes.
    largest_decoded_difference: float | None
    largest_reconstruction_difference: float | None
    largest_latent_difference: float | None
    # Root-mean-square difference of outputs of `decode`, for equal codes or latents, relative to
    # the largest magnitude. Values above 0.1 indicate a wrong export.
    relative_decoded_error: float
    # Fraction of equal codes, and of inputs with equal codes only.
    codes_agree: float | None
    inputs_agree: float | None
    # Relative increase of the mean squared distance of latents to their code vectors.
    distortion_rise: float | None
    # For reconstructions clipped to the range of inputs; None if input and output shapes differ.
    mean_squared_error: float | None
    mean_squared_error_of_model: float | None
    size_bytes: int
    # Median duration of `encode` in milliseconds, by batch size.
    milliseconds: dict[str, float]


def format_of(path: Path) -> str:
    """Detects the format of an exported model.

    Raises:
        ValueError: If there is no exported model at `path`.
    """
    if path.suffix == ".tflite" and path.is_file():
        return "litert"
    names = {file.name for file in path.iterdir()} if path.is_dir() else set()
    for format, sign in (
        ("tf_saved_model", "saved_model.pb"),
        ("onnx", "encode.onnx"),
        ("openvino", "encode.xml"),
    ):
        if sign in names:
            return format
    versions = sorted((int(name) for name in names if name.isdigit()), reverse=True)
    newest = f". Did you mean {path / str(versions[0])}?" if versions else ""
    raise ValueError(
        "`path` must be an export: a .tflite file, or a folder with saved_model.pb, encode.onnx "
        f"or encode.xml. Received: {str(path)!r}{newest}"
    )


def verify(model: keras.Model, path: str | os.PathLike[str], inputs: Any) -> Report:
    """Runs an exported model in a process without Keras, and compares it with the Keras model.

    Args:
        model: Built model that was exported.
        path: Path of the exported file or folder; for a SavedModel, the folder of a version.
        inputs: Array of shape `(n, ...)`.

    Returns:
        `Report`.

    Raises:
        ValueError: If there is no exported model at `path`, or its output shapes differ from those
            of the model.
        ExportError: If the exported model can't be loaded or run.

    Example:
        >>> import numpy as np, keras_vq
        >>> from tempfile import TemporaryDirectory
        >>> from keras_vq.export import verify
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
        >>> with TemporaryDirectory() as folder:
        ...     path = model.export(f"{folder}/digits.tflite", format="litert")
        ...     verify(model, path, np.zeros((4, 8, 8, 1), "float32")).codes_agree
        1.0
    """
    path = Path(path)
    format = format_of(path)
    inputs = np.asarray(inputs, "float32")
    wanted = _answers_of_model(model, inputs)
    signatures = {signature.name: signature for signature in model.signatures()}
    requests = {
        "encode": inputs,
        "decode": wanted["encode"].astype(signatures["decode"].input.dtype),
        "serving_default": inputs,
    }
    got = _answers_of_export(format, path, requests)
    for name, answer in wanted.items():
        if got[name].shape != answer.shape:
            raise ValueError(
                f"`path` must be an export of the model. Received: {str(path)!r}, whose `{name}` "
                f"returns shape {got[name].shape} instead of {answer.shape}"
            )
    bounds = signatures["serving_default"].input.bounds
    differences = {name: got[name] - answer for name, answer in wanted.items()}
    agreement: dict[str, float | None]
    if signatures["encode"].output.name == "codes":
        is_equal = (got["encode"] == wanted["encode"]).reshape(len(inputs), -1)
        # Compare reconstructions of inputs with equal codes only.
        differences["serving_default"] = differences["serving_default"][is_equal.all(axis=1)]
        agreement = {
            "largest_latent_difference": None,
            "codes_agree": float(is_equal.mean()),
            "inputs_agree": float(is_equal.all(axis=1).mean()),
            "distortion_rise": _distortion_rise(model, inputs, got["encode"], wanted["encode"]),
        }
    else:
        agreement = {
            "largest_latent_difference": _largest(differences["encode"]),
            **dict.fromkeys(("codes_agree", "inputs_agree", "distortion_rise")),
        }
    return Report(
        format=format,
        inputs=len(inputs),
        largest_decoded_difference=_largest(differences["decode"]),
        largest_reconstruction_difference=_largest(differences["serving_default"]),
        relative_decoded_error=trial.relative_error(got["decode"], wanted["decode"]),
        **agreement,
        mean_squared_error=_error(inputs, got["serving_default"], bounds),
        mean_squared_error_of_model=_error(inputs, wanted["serving_default"], bounds),
        size_bytes=_size(path),
        milliseconds={
            str(count): 1000 * float(np.median(got[f"encode/seconds/{count}"]))
            for count in foreign.TIMED_BATCHES
        },
    )


def _answers_of_model(model: keras.Model, inputs: np.ndarray) -> dict[str, np.ndarray]:
    latents = model._in_batches(model._encode_batch, inputs, 128)
    return {
        "encode": latents,
        "decode": model._in_batches(model._decode_batch, latents, 128),
        "serving_default": model.reconstruct(inputs),
    }


def _answers_of_export(
    format: str, path: Path, requests: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as temporary:
        asked, answered = Path(temporary, "requests.npz"), Path(temporary, "answers.npz")
        np.savez(asked, **requests)  # type: ignore[arg-type]
        done = subprocess.run(
            [sys.executable, "-I", foreign.__file__, format, path.resolve(), asked, answered],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ExportError(
                f"The {format} export {str(path)!r} failed to run: the process without Keras "
                f"{last_words(done)}"
            )
        with np.load(answered) as file:
            return dict(file)


def _distortion_rise(
    model: keras.Model, inputs: np.ndarray, got: np.ndarray, wanted: np.ndarray
) -> float:
    latents = model._in_batches(model._latents_batch, inputs, 128)
    distortion, distortion_of_model = (
        np.square(latents - keras.ops.convert_to_numpy(model._lookup(codes))).mean()
        for codes in (got, wanted)
    )
    return float(distortion / distortion_of_model - 1) if distortion_of_model else 0.0


def _largest(differences: np.ndarray) -> float | None:
    return float(np.abs(differences).max()) if differences.size else None


def _error(
    inputs: np.ndarray, made: np.ndarray, bounds: tuple[float | None, float | None]
) -> float | None:
    if inputs.shape != made.shape:
        return None
    low, high = bounds
    if low is not None or high is not None:
        made = np.clip(made, low, high)
    return float(np.square(inputs - made).mean())


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def write_report(report: Report, path: Path) -> Path:
    """Writes a report as JSON and returns its path.

    Args:
        report: `Report`.
        path: Path of the exported model. The report of a folder is `verify.json` in the folder; the
            report of a file is `NAME.verify.json` beside the file.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from keras_vq.export import Report, write_report
        >>> report = Report(**{**dict.fromkeys(Report._fields), "format": "onnx"})
        >>> with TemporaryDirectory() as folder:
        ...     write_report(report, Path(folder)).name
        'verify.json'
    """
    target = path / "verify.json" if path.is_dir() else path.with_name(f"{path.name}.verify.json")
    with whole_file(target) as beside:
        beside.write_text(json.dumps(report._asdict(), indent=2) + "\n")
    return target
