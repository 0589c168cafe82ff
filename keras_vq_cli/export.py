"""`keras-vq export`: exports a trained model for inference without Keras."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from keras_vq_cli import arguments, console, fingerprints, trained
from keras_vq_cli.backend import import_keras
from keras_vq_cli.files import shown

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
_EPILOG = """\
formats:
  tf_saved_model  folder in the layout of TensorFlow Serving; each export adds a version
  litert          one .tflite file of built-in operations, for mobile and embedded devices
  onnx            folder with encode.onnx, decode.onnx and serving_default.onnx
  openvino        folder with the same three functions as .xml and .bin files

examples:
  keras-vq export runs/vqvae-digits
  keras-vq export runs/vqvae-digits --format litert --precision int8_convolutions
  keras-vq export model.keras --format onnx --out codec
  keras-vq export vqvae_mnist --format openvino
  keras-vq verify runs/vqvae-digits/exports/onnx
      checks an export in a process without Keras
"""


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = arguments.add_command(
        commands,
        "export",
        run,
        help="export a trained model to SavedModel, LiteRT, ONNX or OpenVINO",
        description="Exports the functions encode, decode and serving_default (image ->\n"
        "reconstruction) of a trained model, for any batch size and for inference without Keras.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help=trained.MODEL_HELP)
    parser.add_argument("--format", choices=FORMATS, help=f"export format (default: {FORMATS[0]})")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="numeric precision (default: float32). float32, float16: precision of the weights. "
        "int8_weights: int8 weights. int8_dynamic: also int8 activations, scaled at run time. "
        "int8_convolutions, int16_convolutions, int8_full: int8 weights and integer activations, "
        "calibrated on images. litert supports all, openvino float32 and float16, other formats "
        "float32",
    )
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="file or folder to write (default: exports/FORMAT, or exports/NAME-PRECISION.tflite "
        "for litert, in the run folder, beside the .keras file, or in a folder named after the "
        "preset)",
    )
    parser.add_argument(
        "--images",
        metavar="IMG",
        nargs="+",
        help="image files or folders for the calibration of quantized activations (default: the "
        f"first {_CALIBRATION_IMAGES} training images of the run)",
    )
    arguments.add_image_options(parser)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an existing export (a SavedModel gets a new version instead)",
    )
    arguments.add_backend(
        parser,
        "tensorflow for tf_saved_model and litert if it is installed, else the backend of the run",
    )
    arguments.add_debug(parser)


def run(given: dict[str, Any], args: list[str]) -> None:
    """Runs the command.

    Args:
        given: Dict of the given options.
        args: List of the raw arguments.

    Raises:
        ValueError: If an argument is invalid.
    """
    del args
    model = trained.named(given["model"])
    format = given.get("format", FORMATS[0])
    precision = given.get("precision", "float32")
    out = Path(given["out"]) if "out" in given else _default_path(model, format, precision)
    writes = format in _WRITTEN_BY_TENSORFLOW and find_spec("tensorflow") is not None
    backend = given.get("backend") or ("tensorflow" if writes else model.backend)
    import_keras(backend, given.get("debug", False))

    loaded = model.load()
    images = None
    if precision in _BY_ACTIVATIONS:
        images = trained.images_for(
            model,
            loaded.input_shape[1:],
            given.get("images"),
            test=False,
            count=_CALIBRATION_IMAGES,
            **arguments.image_options(given),
        )
    console.message(f"Exporting {shown(model.model_file)} as {format}, {precision} ...")
    written = loaded.export(
        out,
        format=format,
        precision=precision,
        calibration_inputs=images,
        overwrite=given.get("overwrite", False),
    )
    fingerprints.write_origin(written, loaded, model.name)
    console.result(_table(loaded))
    console.result(f"Written: {shown(written)}")


def _default_path(model: trained.Trained, format: str, precision: str) -> Path:
    folder = model.folder / "exports"
    if format == "litert":
        return folder / f"{model.name}-{precision}.tflite"
    return folder / (format if precision == "float32" else f"{format}-{precision}")


def _table(model: Any) -> Any:
    from rich.table import Table

    table = Table("function", "input", "output")
    for signature in model.signatures():
        table.add_row(
            signature.name, *(_words(spec) for spec in (signature.input, signature.output))
        )
    return table


def _words(spec: Any) -> str:
    low, high = spec.bounds
    span = "" if low is None else f", {low:g} to {high:g}"
    return f"{spec.name}: {spec.dtype} ({', '.join(map(str, ('n', *spec.shape)))}){span}"
