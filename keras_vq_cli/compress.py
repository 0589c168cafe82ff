"""`keras-vq compress`: compresses images to one file of entropy-coded or packed codes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_vq_cli import arguments, codecs, console, trained
from keras_vq_cli.files import shown, whole_file

if TYPE_CHECKING:
    import numpy as np

_EPILOG = """\
examples:
  keras-vq compress holiday/ -o holiday.kvq
  keras-vq compress digits/*.png -o digits.kvq --model vqvae_mnist
  keras-vq compress photo.jpg -o photo.kvq --model runs/vqvae-photos --prior prior.keras
  keras-vq decompress holiday.kvq -o decoded
"""

_LONGEST_NAME = 1023  # in UTF-8 bytes, limited by the .kvq format


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = arguments.add_command(
        commands,
        "compress",
        run,
        help="compress images to one file of VQ-VAE codes",
        description="Splits images into tiles of the input size of a trained VQ-VAE, writes the\n"
        "codes of the tiles to one file, and prints the PSNR of each image and the file size.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "images", metavar="IMG", nargs="+", help="image file, or folder of image files"
    )
    parser.add_argument(
        "-o", "--out", metavar="FILE", required=True, help="file to write, ending in .kvq"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    arguments.add_image_options(parser)
    codecs.add_options(parser)


def run(given: dict[str, Any], args: list[str]) -> None:
    """Runs the command.

    Args:
        given: Dict of the given options.
        args: List of the raw arguments.

    Raises:
        ValueError: If an argument is invalid.
    """
    del args
    paths = trained.image_files(given["images"])
    out = _output_file(Path(given["out"]), given.get("overwrite", False))
    codec = codecs.of_options(given)

    from keras_vq.codec import ImageCodec

    shape = (None, None, codec.channels)
    paths, images = trained.read_images(paths, shape, **arguments.image_options(given))
    names = [_name(path) for path in paths]
    data = codec.compress(images, names)
    with whole_file(out) as beside:
        beside.write_bytes(data)
    # Coding of the codes is lossless, so packed codes give the same images, and faster.
    packed = ImageCodec(codec.vqvae, max_pixels=codec.max_pixels)
    made = packed.decompress(packed.compress(images))
    console.result(_table(paths, images, made))
    pixels = sum(image.shape[0] * image.shape[1] for image in images)
    console.result(
        f"Written: {shown(out)}, {len(data):,} bytes, {8 * len(data) / pixels:.3f} bits per pixel "
        f"(input files: {sum(path.stat().st_size for path in paths):,} bytes)"
    )


def _name(path: Path) -> str:
    """Returns the stored name of an image: the file name as valid UTF-8 of limited length."""
    name = os.fsencode(path.name).decode("utf-8", "replace")
    return name.encode()[:_LONGEST_NAME].decode("utf-8", "ignore")


def _output_file(out: Path, overwrite: bool) -> Path:
    if out.suffix != ".kvq":
        raise ValueError(f"--out must end in .kvq. Received: {shown(out)}")
    if not out.parent.is_dir():
        raise ValueError(f"The folder of --out must exist. Received: {shown(out)}")
    if out.exists() and not overwrite:
        raise ValueError(f"{shown(out)} already exists. Pass --overwrite to replace it.")
    return out


def _table(paths: list[Path], images: list[np.ndarray], made: list[np.ndarray]) -> Any:
    from rich.table import Table

    from keras_vq_cli import figures

    table = Table()
    table.add_column("file", overflow="fold")
    for name in ("size", "bytes", "PSNR, dB"):
        table.add_column(name, justify="right")
    for path, image, one in zip(paths, images, made, strict=True):
        errors = figures.mean_squared_errors(image[None], one[None])
        ratio = figures.peak_signal_to_noise_ratios(errors)[0]
        size = f"{image.shape[0]} x {image.shape[1]}"
        table.add_row(shown(path), size, f"{path.stat().st_size:,}", f"{ratio:.2f}")
    return table
