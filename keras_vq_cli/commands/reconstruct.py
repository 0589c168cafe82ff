"""`keras-vq reconstruct`: reconstructs image files and plots them above the originals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_vq_cli import console, models, options
from keras_vq_cli.files import shown
from keras_vq_cli.images import files_of, read

if TYPE_CHECKING:
    import numpy as np

_PICTURED = 50
_EXAMPLES = """
Examples:
  keras-vq reconstruct runs/vqvae-digits seven.png
  keras-vq reconstruct runs/vqvae-photos holiday/ portrait.jpg --out reconstructions.png
  keras-vq reconstruct vqvae_mnist seven.png
"""


class OwnImage(NamedTuple):
    """Image file of the user, resized to the input shape of the model."""

    path: Path
    shape: tuple[int, int, int]  # (height, width, channels) in the file
    pixels: np.ndarray  # float32 (height, width, channels) in [0, 1], resized


@options.command(_EXAMPLES)
@models.model_argument
@options.images(required=True)
@options.out(
    "Plot to write: .png, .pdf or .svg.  [default: reconstructions-of-IMG.png in the current "
    "folder, with a number appended if it exists]"
)
def command(
    model: models.Source, images: tuple[str, ...], out: Path | None, **reading: Any
) -> None:
    """Reconstructs images with a trained model.

    Plots the originals above the reconstructions, and prints the error of each image.
    """
    # Checks that need no Keras come first, because its import takes seconds.
    paths = files_of(images)
    out = _output_file(out, images)
    loaded = model.load()

    from keras_vq import plots
    from keras_vq_cli import figures

    own = _read_images(paths, loaded.input_shape[1:], reading)
    originals = _stack(own)
    made = loaded.reconstruct(originals)
    errors = figures.mean_squared_errors(originals, made)
    bits = figures.bits_per_image(loaded, originals[:1])

    ratios = figures.peak_signal_to_noise_ratios(errors)
    height, width, channels = originals.shape[1:]
    resized = sum(image.shape[:2] != (height, width) for image in own)
    grayed = sum(image.shape[2] > channels for image in own)
    for count, how in ((resized, f"resized to {height} x {width}"), (grayed, "converted to gray")):
        if count:
            console.message(
                f"{count} of {len(own)} images {how} for the model. Errors are computed on "
                f"the {how.split()[0]} images."
            )
    if len(own) > _PICTURED:
        console.message(f"The plot shows the first {_PICTURED} of {len(own)} images.")
    title = f"{model.name}: mean PSNR {ratios.mean():.1f} dB"
    plots.plot_reconstructions(originals[:_PICTURED], made[:_PICTURED], out, title=title)
    record = {
        "plot": str(out),
        "bits_per_image": bits,
        "images": [
            {"file": str(image.path), "mse": float(error), "psnr": float(ratio)}
            for image, error, ratio in zip(own, errors, ratios, strict=True)
        ],
    }
    console.result(record, _table(own, errors, ratios, bits), f"Plot: {shown(out)}")


def _output_file(out: Path | None, named: Sequence[str]) -> Path:
    if out is not None:
        if out.suffix.lower() not in (".png", ".pdf", ".svg"):
            raise ValueError(f"--out must end in .png, .pdf or .svg. Received: {out}")
        if not out.parent.is_dir():
            raise ValueError(f"The folder of --out must exist. Received: {out}")
        return out
    others = f"-and-{len(named) - 1}-more" if len(named) > 1 else ""
    stem = f"reconstructions-of-{Path(named[0]).resolve().stem}{others}"
    out, number = Path(f"{stem}.png"), 1
    while out.exists():
        number += 1
        out = Path(f"{stem}-{number}.png")
    return out


def _read_images(
    paths: list[Path],
    image_shape: tuple[int, int, int],
    options: dict[str, Any],
) -> list[OwnImage]:
    paths, images = read(paths, image_shape, **options)
    return [
        OwnImage(path, read([path], None, **options)[1][0].shape, pixels)
        for path, pixels in zip(paths, images, strict=True)
    ]


def _stack(images: list[OwnImage]) -> np.ndarray:
    import numpy as np

    return np.stack([image.pixels for image in images])


def _table(
    images: list[OwnImage], errors: np.ndarray, ratios: np.ndarray, bits: float | None
) -> Any:
    columns = ["file", "size", "MSE", "PSNR, dB"]
    if bits is not None:
        columns += ["size of codes, bits", "size of file, bytes"]
    table = console.table(*columns, numbers=True)
    for image, error, ratio in zip(images, errors, ratios, strict=True):
        size = f"{image.shape[0]} x {image.shape[1]}"
        row = [shown(image.path), size, f"{error:.5f}", f"{ratio:.2f}"]
        if bits is not None:
            row += [f"{bits:,.0f}", f"{image.path.stat().st_size:,}"]
        table.add_row(*row)
    return table
