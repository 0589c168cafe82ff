"""`keras-vq verify`: compares an export, run in a process without Keras, with its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_vq_cli import console, fingerprints, models, options, runs
from keras_vq_cli.files import read_json, shown
from keras_vq_cli.images import of_model

FAILED = 1
# A larger error indicates a wrong export rather than limited precision.
_MAX_RELATIVE_ERROR = 0.1
_EXAMPLES = """
By default, all codes must be equal and pixels may differ by 1e-5, as expected from float32
exports. Lower the requirement for quantized exports:
  keras-vq verify runs/vqvae/exports/vqvae-int8_weights.tflite --least-agreement 97.5

Exit codes: 0 if the export passes, 1 if it fails, 2 if the check could not run. The results are
also written to verify.json in the export folder, or beside a .tflite file.
"""


@options.command(_EXAMPLES)
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@models.model_option(
    "the run that contains PATH, else the preset or run from which PATH was exported"
)
@options.images()
@options.option(
    "--count",
    type=options.COUNT,
    default=512,
    show_default=True,
    help="Maximum number of images.",
)
@options.option(
    "--least-agreement",
    metavar="PERCENT",
    type=options.Number(min=0, max=100),
    help="Minimum percentage of equal codes.  [default: 100]",
)
@options.option(
    "--tolerance",
    type=options.NOT_NEGATIVE,
    help="Maximum absolute difference of latents, and of pixels decoded from the same codes or "
    "latents.  [default: 1e-5; 1 with --least-agreement]",
)
def command(
    path: Path,
    model: models.Source | None,
    images: tuple[str, ...],
    count: int,
    least_agreement: float | None,
    tolerance: float | None,
    **reading: Any,
) -> int:
    """Compares the codes and pixels of an export with those of its model.

    The export runs in a new process without Keras.

    PATH is a .tflite file or a folder; for a SavedModel, the folder of one version, or of all
    versions to check the newest.
    """
    path = _newest_version(path)
    model = model or _model_of(path)
    loaded = model.load()

    from keras_vq import export

    inputs = of_model(model, loaded.input_shape[1:], images, **reading).take(count).images
    console.message(
        f"Running {shown(path)} on {len(inputs)} image{'s' if len(inputs) != 1 else ''} ..."
    )
    report = export.verify(loaded, path, inputs)
    written = export.write_report(report, path)
    faults = _faults(report, least_agreement, tolerance)
    record = {**read_json(written), "faults": faults, "report": str(written)}
    console.result(record, _table(report), f"Results: {shown(written)}")
    for fault in faults:
        console.error(fault)
    return FAILED if faults else 0


def _newest_version(path: Path) -> Path:
    """Returns the newest version in a folder of SavedModel versions; other paths unchanged."""
    if not path.exists():
        hint = models.near_path(path)
        raise ValueError(f"PATH must be an existing file or folder.{hint} Received: {path}")
    versions = [p for p in path.iterdir() if p.name.isdigit()] if path.is_dir() else []
    return max(versions, key=lambda version: int(version.name)) if versions else path


def _model_of(path: Path) -> models.Source:
    for folder in path.resolve().parents:
        if (folder / runs.CONFIG).is_file() and (folder / "model.keras").is_file():
            return models.of_run(folder)
    found, name = fingerprints.find_model_of_export(path)
    if found is not None:
        console.message(f"Model: {shown(found.name)}")
        return found
    origin = f" It was exported from {shown(name)!r}, which was not found." if name else ""
    raise ValueError(
        f"The model of the export was not found.{origin} Select it with --model RUN. "
        f"Received: {shown(path)}"
    )


def _faults(report: Any, least_agreement: float | None, tolerance: float | None) -> list[str]:
    faults = []
    least = 100.0 if least_agreement is None else least_agreement
    if report.codes_agree is not None and 100 * report.codes_agree < least:
        faults.append(
            f"{100 * report.codes_agree:.3f} % of codes are equal, expected at least {least:g} %"
        )
    if tolerance is None and not report.relative_decoded_error <= _MAX_RELATIVE_ERROR:
        faults.append(
            "Pixels decoded from the same codes or latents differ by "
            f"{100 * report.relative_decoded_error:.0f} % of the largest value (RMS error), "
            f"expected at most {100 * _MAX_RELATIVE_ERROR:g} %"
        )
    if tolerance is None:
        tolerance = 1e-5 if least_agreement is None else 1.0
    for what, largest in (
        ("pixel", report.largest_decoded_difference),
        ("pixel of a reconstruction", report.largest_reconstruction_difference),
        ("latent", report.largest_latent_difference),
    ):
        if largest is not None and not largest <= tolerance:
            faults.append(f"A {what} differs by {largest:.2g}, expected at most {tolerance:g}")
    return faults


def _table(report: Any) -> Any:
    named = (
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
    )
    rows = [{"name": name, "text": text} for name, text in named if text is not None]
    return console.table_of(rows, name="", text="")


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.3f} %"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"
