"""`keras-vq compress`: compresses images to one file of entropy-coded or packed codes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_vq_cli import codecs, console, models, options
from keras_vq_cli.files import shown, whole_file
from keras_vq_cli.images import files_of, read

if TYPE_CHECKING:
    import numpy as np

_EXAMPLES = """
Examples:
  keras-vq compress holiday/ -o holiday.kvq
  keras-vq compress digits/*.png -o digits.kvq --model vqvae_mnist
  keras-vq compress photo.jpg -o photo.kvq --model runs/vqvae-photos --prior prior.keras
  keras-vq decompress holiday.kvq -o decoded
"""

_LONGEST_NAME = 1023  # in UTF-8 bytes, limited by the .kvq format


@options.command(_EXAMPLES)
@options.images(required=True)
@options.out("File to write, ending in .kvq.", required=True)
@options.overwrite
@options.dry_run
@models.model_option(f"{codecs.PRESET}, for color images")
@codecs.prior_option("none, fixed-length codes")
def command(
    images: tuple[str, ...],
    out: Path,
    overwrite: bool,
    dry_run: bool,
    model: models.Source | None,
    prior: Path | None,
    **reading: Any,
) -> None:
    """Compresses images to one file of VQ-VAE codes.

    Images are split into tiles of the input size of the model, whose codes are written. Prints the
    PSNR of each image and the size of the file.
    """
    paths = files_of(images)
    options.check_out(out, (".kvq",), overwrite)
    codec = codecs.of_options(model, prior, reading["max_pixels"])

    from keras_vq.codec import ImageCodec

    paths, originals = read(paths, (None, None, codec.channels), **reading)
    if dry_run:
        pixels = sum(image[..., 0].size for image in originals)
        console.plan({"images": len(originals), "pixels": pixels, "file": str(out)})
        return
    data = codec.compress(originals, [_name(path) for path in paths])
    with whole_file(out) as beside:
        beside.write_bytes(data)
    # Coding of the codes is lossless, so packed codes give the same images, and faster.
    packed = ImageCodec(codec.vqvae, max_pixels=codec.max_pixels)
    made = packed.decompress(packed.compress(originals))
    rows = _rows(paths, originals, made)
    record = {
        "file": str(out),
        "bytes": len(data),
        "bits_per_pixel": 8 * len(data) / sum(image[..., 0].size for image in originals),
        "input_bytes": sum(row["bytes"] for row in rows),
        "images": rows,
    }
    console.result(
        record,
        console.table_of(rows, file="file", size="size", bytes="bytes", psnr=("PSNR, dB", ".2f")),
        f"Written: {shown(out)}, {len(data):,} bytes, {record['bits_per_pixel']:.3f} bits per "
        f"pixel (input files: {record['input_bytes']:,} bytes)",
    )


def _name(path: Path) -> str:
    """Returns the stored name of an image: the file name as valid UTF-8 of limited length."""
    name = os.fsencode(path.name).decode("utf-8", "replace")
    return name.encode()[:_LONGEST_NAME].decode("utf-8", "ignore")


def _rows(
    paths: list[Path], images: list[np.ndarray], made: list[np.ndarray]
) -> list[dict[str, Any]]:
    from keras_vq_cli import figures

    rows = []
    for path, image, one in zip(paths, images, made, strict=True):
        errors = figures.mean_squared_errors(image[None], one[None])
        ratio = float(figures.peak_signal_to_noise_ratios(errors)[0])
        size = [*image.shape[:2]]
        rows.append({"file": str(path), "size": size, "bytes": path.stat().st_size, "psnr": ratio})
    return rows
