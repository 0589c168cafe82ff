"""`keras-vq verify`: runs an export without Keras and compares it with the trained model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from keras_vq_cli import arguments, console, fingerprints, trained
from keras_vq_cli.backend import import_keras
from keras_vq_cli.files import shown

FAILED = 1
# A larger error indicates a wrong export rather than limited precision.
_MAX_RELATIVE_ERROR = 0.1
_EPILOG = """\
By default, all codes must be equal and pixels may differ by 1e-5, as expected from float32
exports. Lower the requirement for quantized exports:
  keras-vq verify runs/vqvae/exports/vqvae-int8_weights.tflite --least-agreement 97.5

Exit codes: 0 if the export passes, 1 if it fails, 2 if the check could not run. The results are
also written to verify.json in the export folder, or beside a .tflite file.
"""


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = arguments.add_command(
        commands,
        "verify",
        run,
        help="check an export in a process without Keras",
        description="Runs an export on images in a new process without Keras, and compares its\n"
        "codes and pixels with those of the trained model.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "path",
        metavar="PATH",
        help="export to check: a .tflite file or a folder (for a SavedModel, the folder of one "
        "version, or of all versions to check the newest)",
    )
    parser.add_argument(
        "--model",
        metavar="RUN",
        help=f"trained model: {trained.MODEL_HELP} (default: the run that contains PATH, else the "
        "preset or run from which PATH was exported)",
    )
    parser.add_argument(
        "--images",
        metavar="IMG",
        nargs="+",
        help="image files or folders (default: test images of the run's data set)",
    )
    arguments.add_image_options(parser)
    parser.add_argument(
        "--count",
        type=arguments.positive_integer,
        metavar="N",
        help="maximum number of images (default: 512)",
    )
    parser.add_argument(
        "--least-agreement",
        type=_percentage,
        metavar="PERCENT",
        help="minimum percentage of equal codes (default: 100)",
    )
    parser.add_argument(
        "--tolerance",
        type=arguments.not_negative_number,
        metavar="X",
        help="maximum absolute difference of latents, and of pixels decoded from the same codes or "
        "latents (default: 1e-5; 1 with --least-agreement)",
    )
    arguments.add_backend(parser, "the backend of the run")
    arguments.add_debug(parser)


def run(given: dict[str, Any], args: list[str]) -> int:
    """Runs the command.

    Args:
        given: Dict of the given options.
        args: List of the raw arguments.

    Returns:
        Exit code: 0, or 1 if the export differs by more than the tolerance.

    Raises:
        ValueError: If an argument is invalid.
    """
    del args
    path = _newest_version(Path(given["path"]))
    model = _model(given.get("model"), path)
    import_keras(given.get("backend") or model.backend, given.get("debug", False))

    from keras_vq import export

    loaded = model.load()
    images = trained.images_for(
        model,
        loaded.input_shape[1:],
        given.get("images"),
        test=True,
        count=given.get("count", 512),
        **arguments.image_options(given),
    )
    console.message(
        f"Running {shown(path)} on {len(images)} image{'s' if len(images) != 1 else ''} ..."
    )
    report = export.verify(loaded, path, images)
    written = export.write_report(report, path)
    console.result(_table(report))
    faults = _faults(report, given)
    for fault in faults:
        console.error(fault)
    console.result(f"Results: {shown(written)}")
    return FAILED if faults else 0


def _percentage(text: str) -> float:
    number = arguments.not_negative_number(text)
    if number > 100:
        raise argparse.ArgumentTypeError(f"expected a percentage from 0 to 100, received {text!r}")
    return number


def _newest_version(path: Path) -> Path:
    """Returns the newest version in a folder of SavedModel versions; other paths unchanged."""
    if not path.exists():
        hint = trained.near_path(path)
        raise ValueError(f"PATH must be an existing file or folder.{hint} Received: {path}")
    versions = [p for p in path.iterdir() if p.name.isdigit()] if path.is_dir() else []
    return max(versions, key=lambda version: int(version.name)) if versions else path


def _model(named: str | None, path: Path) -> trained.Trained:
    if named is not None:
        return trained.named(named)
    for folder in path.resolve().parents:
        if (folder / "config.json").is_file() and (folder / "model.keras").is_file():
            return trained.of_run(folder)
    found, name = fingerprints.find_model_of_export(path)
    if found is not None:
        console.message(f"Model: {shown(found.name)}")
        return found
    origin = f" It was exported from {shown(name)!r}, which was not found." if name else ""
    raise ValueError(
        f"The model of the export was not found.{origin} Select it with --model RUN. "
        f"Received: {shown(path)}"
    )


def _faults(report: Any, given: dict[str, Any]) -> list[str]:
    faults = []
    least = given.get("least_agreement", 100.0)
    if report.codes_agree is not None and 100 * report.codes_agree < least:
        faults.append(
            f"{100 * report.codes_agree:.3f} % of codes are equal, expected at least {least:g} %"
        )
    if "tolerance" not in given and not report.relative_decoded_error <= _MAX_RELATIVE_ERROR:
        faults.append(
            "Pixels decoded from the same codes or latents differ by "
            f"{100 * report.relative_decoded_error:.0f} % of the largest value (RMS error), "
            f"expected at most {100 * _MAX_RELATIVE_ERROR:g} %"
        )
    tolerance = given.get("tolerance", 1.0 if "least_agreement" in given else 1e-5)
    for what, largest in (
        ("pixel", report.largest_decoded_difference),
        ("pixel of a reconstruction", report.largest_reconstruction_difference),
        ("latent", report.largest_latent_difference),
    ):
        if largest is not None and not largest <= tolerance:
            faults.append(f"A {what} differs by {largest:.2g}, expected at most {tolerance:g}")
    return faults


def _table(report: Any) -> Any:
    from rich.table import Table

    table = Table("", "")
    for name, text in (
        ("format", report.format),
        ("images", str(report.inputs)),
        ("equal codes", _percent(report.codes_agree)),
        ("images with all codes equal", _percent(report.inputs_agree)),
        ("increase of the quantization error", _percent(report.distortion_rise)),
        ("maximum latent difference", _number(report.largest_latent_difference)),
        ("maximum decoded pixel difference", _number(report.largest_decoded_difference)),
        (
            "maximum pixel difference of reconstructions with equal codes",
            _number(report.largest_reconstruction_difference),
        ),
        ("reconstruction MSE of the export", _number(report.mean_squared_error)),
        ("reconstruction MSE of the model", _number(report.mean_squared_error_of_model)),
        ("size, kB", f"{report.size_bytes / 1000:.1f}"),
        *(
            (f"encode {count} image{'s' if count != '1' else ''}, ms", f"{milliseconds:.2f}")
            for count, milliseconds in report.milliseconds.items()
        ),
    ):
        if text is not None:
            table.add_row(name, text)
    return table


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.3f} %"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"
