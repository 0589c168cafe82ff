"""`keras-vq reconstruct`: reconstructs image files with a trained model and plots the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_vq_cli import arguments, console, trained
from keras_vq_cli.backend import import_keras
from keras_vq_cli.files import shown

if TYPE_CHECKING:
    import numpy as np

_PICTURED = 50
_EPILOG = """\
examples:
  keras-vq reconstruct runs/vqvae-digits seven.png
  keras-vq reconstruct runs/vqvae-photos holiday/ portrait.jpg --out reconstructions.png
  keras-vq reconstruct vqvae_mnist seven.png
"""


class OwnImage(NamedTuple):
    """Image file of the user, resized to the input shape of the model."""

    path: Path
    shape: tuple[int, int, int]  # (height, width, channels) in the file
    pixels: np.ndarray  # float32 (height, width, channels) in [0, 1], resized


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = arguments.add_command(
        commands,
        "reconstruct",
        run,
        help="reconstruct images with a trained model",
        description="Reconstructs images with a trained model, plots the originals above the\n"
        "reconstructions, and prints the error of each image.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help=trained.MODEL_HELP)
    parser.add_argument(
        "images", metavar="IMG", nargs="+", help="image file, or folder of image files"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="plot to write: .png, .pdf or .svg (default: reconstructions-of-IMG.png in the "
        "current folder, with a number appended if it exists)",
    )
    arguments.add_image_options(parser)
    arguments.add_backend(parser, "the backend of the run, else the configured backend of Keras")
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
    of = trained.named(given["model"])
    # Checks that need no Keras come first, because its import takes seconds.
    paths = trained.image_files(given["images"])
    out = _output_file(given.get("out"), given["images"])
    import_keras(given.get("backend") or of.backend, given.get("debug", False))

    from keras_vq import plots
    from keras_vq_cli import figures

    model = of.load()
    images = _read_images(paths, model.input_shape[1:], arguments.image_options(given))
    originals = _stack(images)
    made = model.reconstruct(originals)
    errors = figures.mean_squared_errors(originals, made)
    bits = figures.bits_per_image(model, originals[:1])

    ratios = figures.peak_signal_to_noise_ratios(errors)
    console.result(_table(images, errors, ratios, bits))
    height, width, channels = originals.shape[1:]
    resized = sum(image.shape[:2] != (height, width) for image in images)
    grayed = sum(image.shape[2] > channels for image in images)
    for count, how in ((resized, f"resized to {height} x {width}"), (grayed, "converted to gray")):
        if count:
            console.message(
                f"{count} of {len(images)} images {how} for the model. Errors are computed on "
                f"the {how.split()[0]} images."
            )
    if len(images) > _PICTURED:
        console.message(f"The plot shows the first {_PICTURED} of {len(images)} images.")
    title = f"{of.name}: mean PSNR {ratios.mean():.1f} dB"
    plots.plot_reconstructions(originals[:_PICTURED], made[:_PICTURED], out, title=title)
    console.result(f"Plot: {out}")


def _output_file(asked: str | None, named: Sequence[str]) -> Path:
    if asked is not None:
        out = Path(asked)
        if out.suffix.lower() not in (".png", ".pdf", ".svg"):
            raise ValueError(f"--out must end in .png, .pdf or .svg. Received: {asked}")
        if not out.parent.is_dir():
            raise ValueError(f"The folder of --out must exist. Received: {asked}")
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
    paths, images = trained.read_images(paths, image_shape, **options)
    return [
        OwnImage(path, trained.read_images([path], None, **options)[1][0].shape, pixels)
        for path, pixels in zip(paths, images, strict=True)
    ]


def _stack(images: list[OwnImage]) -> np.ndarray:
    import numpy as np

    return np.stack([image.pixels for image in images])


def _table(
    images: list[OwnImage], errors: np.ndarray, ratios: np.ndarray, bits: float | None
) -> Any:
    from rich.table import Table

    table = Table()
    table.add_column("file", overflow="fold")
    table.add_column("size", justify="right")
    table.add_column("MSE", justify="right")
    table.add_column("PSNR, dB", justify="right")
    if bits is not None:
        table.add_column("size of codes, bits", justify="right")
        table.add_column("size of file, bytes", justify="right")
    for image, error, ratio in zip(images, errors, ratios, strict=True):
        size = f"{image.shape[0]} x {image.shape[1]}"
        row = [shown(image.path), size, f"{error:.5f}", f"{ratio:.2f}"]
        if bits is not None:
            row += [f"{bits:,.0f}", f"{image.path.stat().st_size:,}"]
        table.add_row(*row)
    return table
