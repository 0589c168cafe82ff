"""`keras-vq export`: exports a trained model to SavedModel, LiteRT, ONNX or OpenVINO."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from keras_vq_cli import console, fingerprints, models, options
from keras_vq_cli.files import shown
from keras_vq_cli.images import of_model

# Equal to those of keras_vq.export, which can't be imported before the backend is selected.
FORMATS = ("tf_saved_model", "litert", "onnx", "openvino")
PRECISIONS = (
    "float32",
    "float16",
    "int8_weights",
    "int8_dynamic",
    "int8_convolutions",
    "int16_convolutions",
    "int8_full",
)

_WRITTEN_BY_TENSORFLOW = ("tf_saved_model", "litert")
_BY_ACTIVATIONS = ("int8_convolutions", "int16_convolutions", "int8_full")
_CALIBRATION_IMAGES = 128
_EXAMPLES = """
Formats:
  tf_saved_model  folder in the layout of TensorFlow Serving; each export adds a version
  litert          one .tflite file of built-in operations, for mobile and embedded devices
  onnx            folder with encode.onnx, decode.onnx and serving_default.onnx
  openvino        folder with the same three functions as .xml and .bin files

Examples:
  keras-vq export runs/vqvae-digits
  keras-vq export runs/vqvae-digits --format litert --precision int8_convolutions
  keras-vq export model.keras --format onnx --out codec
  keras-vq export vqvae_mnist --format openvino
  keras-vq verify runs/vqvae-digits/exports/onnx
      checks an export in a process without Keras
"""


@options.command(_EXAMPLES)
@models.model_argument
@options.option(
    "--format",
    type=options.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="Export format.",
)
@options.option(
    "--precision",
    type=options.Choice(PRECISIONS),
    default=PRECISIONS[0],
    show_default=True,
    help="Numeric precision. float32, float16: precision of the weights. int8_weights: int8 "
    "weights. int8_dynamic: also int8 activations, scaled at run time. int8_convolutions, "
    "int16_convolutions, int8_full: int8 weights and integer activations, calibrated on images. "
    "litert supports all, openvino float32 and float16, other formats float32.",
)
@options.out(
    "File or folder to write.  [default: exports/FORMAT, or exports/NAME-PRECISION.tflite for "
    "litert, in the run folder, beside the .keras file, or in a folder named after the preset]"
)
@options.images()
@options.overwrite
@options.dry_run
def command(
    model: models.Source,
    format: str,
    precision: str,
    out: Path | None,
    images: tuple[str, ...],
    overwrite: bool,
    dry_run: bool,
    **reading: Any,
) -> None:
    """Exports a trained model for inference without Keras.

    The exported functions encode, decode and serving_default (image -> reconstruction) accept any
    batch size.

    The activations of quantized models are calibrated on --images, by default the first 128
    training images of the run. A SavedModel gets a new version instead of being replaced.
    """
    out = out or _default_path(model, format, precision)
    writes = format in _WRITTEN_BY_TENSORFLOW and find_spec("tensorflow") is not None
    loaded = model.load(preferred="tensorflow" if writes else None)
    calibration = None
    if precision in _BY_ACTIVATIONS:
        data = of_model(model, loaded.input_shape[1:], images, test=False, **reading)
        calibration = data.take(_CALIBRATION_IMAGES).images
    if dry_run:
        plan = {"format": format, "precision": precision, "path": str(out)}
        console.plan({**plan, "functions": [each.name for each in loaded.signatures()]})
        return
    console.message(f"Exporting {shown(model.model_file)} as {format}, {precision} ...")
    written = loaded.export(
        out,
        format=format,
        precision=precision,
        calibration_inputs=calibration,
        overwrite=overwrite,
    )
    fingerprints.write_origin(written, loaded, model.name)
    rows = [
        {"function": each.name, "input": _words(each.input), "output": _words(each.output)}
        for each in loaded.signatures()
    ]
    table = console.table_of(rows, function="function", input="input", output="output")
    console.result({"path": str(written), "functions": rows}, table, f"Written: {shown(written)}")


def _default_path(model: models.Source, format: str, precision: str) -> Path:
    folder = model.folder / "exports"
    if format == "litert":
        return folder / f"{model.name}-{precision}.tflite"
    return folder / (format if precision == "float32" else f"{format}-{precision}")


def _words(spec: Any) -> str:
    low, high = spec.bounds
    span = "" if low is None else f", {low:g} to {high:g}"
    return f"{spec.name}: {spec.dtype} ({', '.join(map(str, ('n', *spec.shape)))}){span}"
