"""`keras-vq reconstruct`: reconstructs image files and plots them above the originals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_vq_cli import console, models, options
from keras_vq_cli.files import shown
from keras_vq_cli.images import files_of, read

_PICTURED = 50
_EXAMPLES = """
Examples:
  keras-vq reconstruct runs/vqvae-digits seven.png
  keras-vq reconstruct runs/vqvae-photos holiday/ portrait.jpg --out reconstructions.png
  keras-vq reconstruct vqvae_mnist seven.png
"""


@options.command(_EXAMPLES)
@models.model_argument
@options.images(required=True)
@options.out(
    "Plot to write: .png, .pdf or .svg.  [default: reconstructions-of-IMG.png in the current "
    "folder, with a number appended if it exists]"
)
@options.dry_run
def command(
    model: models.Source,
    images: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    **reading: Any,
) -> None:
    """Reconstructs images with a trained model.

    Plots the originals above the reconstructions, and prints the error of each image.
    """
    # Checks that need no Keras come first, because its import takes seconds.
    files = files_of(images)
    out = out or _default_file(images)
    options.check_out(out, options.PICTURES)
    loaded = model.load()

    import numpy as np

    from keras_vq import plots
    from keras_vq_cli import figures

    files, inputs = read(files, loaded.input_shape[1:], **reading)
    if dry_run:
        shape = [*loaded.input_shape[1:]]
        console.plan({"images": len(files), "image_shape": shape, "plot": str(out)})
        return
    originals = np.stack(inputs)
    made = loaded.reconstruct(originals)
    errors = figures.mean_squared_errors(originals, made)
    ratios = figures.peak_signal_to_noise_ratios(errors)
    shapes = [read([file], None, **reading)[1][0].shape for file in files]
    rows: list[dict[str, Any]] = [
        {"file": str(file), "size": [*shape[:2]], "mse": float(error), "psnr": float(ratio)}
        for file, shape, error, ratio in zip(files, shapes, errors, ratios, strict=True)
    ]
    columns: dict[str, Any] = {"file": "file", "size": "size"}
    columns |= {"mse": ("MSE", ".5f"), "psnr": ("PSNR, dB", ".2f")}
    bits = figures.bits_per_image(loaded, originals[:1])
    if bits is not None:
        columns |= {"bits": ("size of codes, bits", ",.0f"), "bytes": "size of file, bytes"}
        for row in rows:
            row |= {"bits": bits, "bytes": Path(row["file"]).stat().st_size}
    _tell_changes(shapes, originals.shape[1:])
    if len(rows) > _PICTURED:
        console.message(f"The plot shows the first {_PICTURED} of {len(rows)} images.")
    title = f"{model.name}: mean PSNR {ratios.mean():.1f} dB"
    plots.plot_reconstructions(originals[:_PICTURED], made[:_PICTURED], out, title=title)
    record = {"plot": str(out), "images": rows}
    console.result(record, console.table_of(rows, **columns), f"Plot: {shown(out)}")


def _tell_changes(shapes: list[Any], model_shape: tuple[int, ...]) -> None:
    height, width, channels = model_shape
    resized = sum(shape[:2] != (height, width) for shape in shapes)
    grayed = sum(shape[2] > channels for shape in shapes)
    for count, how in ((resized, f"resized to {height} x {width}"), (grayed, "converted to gray")):
        if count:
            console.message(
                f"{count} of {len(shapes)} images {how} for the model. Errors are computed on "
                f"the {how.split()[0]} images."
            )


def _default_file(named: Sequence[str]) -> Path:
    others = f"-and-{len(named) - 1}-more" if len(named) > 1 else ""
    stem = f"reconstructions-of-{Path(named[0]).resolve().stem}{others}"
    out, number = Path(f"{stem}.png"), 1
    while out.exists():
        number += 1
        out = Path(f"{stem}-{number}.png")
    return out
