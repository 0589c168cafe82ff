"""`keras-vq decompress`: decodes the images of a .kvq file to PNG files."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import click

from keras_vq_cli import codecs, console, models, options
from keras_vq_cli.files import shown
from keras_vq_cli.images import write_png

_EXAMPLES = """
Examples:
  keras-vq decompress holiday.kvq -o decoded
  keras-vq decompress photo.kvq --model runs/vqvae-photos --prior prior.keras

By default, the model and the prior are found by the fingerprint of their weights. The model is
searched among the presets, in ./runs and beside FILE; the prior beside FILE, in the current folder
and in the folder of the model.
"""

_MAGIC = b"KVQ"  # equal to that of keras_vq.codec, whose import takes seconds
_LONGEST_NAME = 255  # in bytes, on most file systems
_RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{device}{number}" for device in ("COM", "LPT") for number in "0123456789¹²³"
}


@options.command(_EXAMPLES)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@options.out("Output folder, created if missing.  [default: NAME-decompressed beside FILE]")
@options.overwrite
@options.dry_run
@options.option(
    "--max-pixels",
    type=options.COUNT,
    help="Maximum number of pixels per file, with images padded to whole tiles.  [default: "
    "268435456]",
)
@models.model_option("found by its fingerprint")
@codecs.prior_option("found by its fingerprint")
def command(
    file: Path,
    out: Path | None,
    overwrite: bool,
    dry_run: bool,
    max_pixels: int | None,
    model: models.Source | None,
    prior: Path | None,
) -> None:
    """Decodes the images of a .kvq file to PNG files.

    Requires the model, and the prior if any, with which the file was compressed.
    """
    if not file.is_file():
        raise ValueError(f"FILE must be an existing file. Received: {shown(file)}")
    data = file.read_bytes()
    if not data.startswith(_MAGIC):
        raise ValueError(
            f'FILE must be a .kvq file, which begins with "KVQ". Received: {shown(file)}, which '
            f"begins with {data[: len(_MAGIC)]!r}"
        )
    header, codec = codecs.of_file(data, file, model, prior, max_pixels)
    folder = out or file.with_name(f"{_cut(file.stem, '-decompressed')}-decompressed")
    paths = [folder / name for name in file_names(header.names, len(header.image_shapes))]
    for path in paths:
        options.check_free(path, overwrite)
    if dry_run:
        console.plan({"files": [str(path) for path in paths]})
        return
    images = codec.decompress(data)
    folder.mkdir(parents=True, exist_ok=True)
    for path, image in zip(paths, images, strict=True):
        write_png(image, path)
    plural = "s" if len(images) != 1 else ""
    console.result(
        {"files": [str(path) for path in paths]},
        f"Written: {len(images)} image{plural} in {shown(folder)}",
    )


def file_names(names: tuple[str, ...], count: int) -> list[str]:
    """Returns safe and unique PNG file names for the images of an untrusted `.kvq` file.

    Names are unique also on file systems that ignore case or Unicode normalization. They contain no
    folder and no character that a file system rejects or a terminal interprets, and are neither
    reserved, hidden nor too long.

    Args:
        names: Tuple of strings. Stored names of the images. If empty, images are numbered.
        count: Integer. Number of images.
    """
    wanted = list(names) or [f"{number:0{len(str(count))}}" for number in range(1, count + 1)]
    found: list[str] = []
    taken: set[str] = set()
    next_number: dict[str, int] = {}
    for name in wanted:
        stem = _safe_stem(name)
        unique = _cut(stem, ".png")
        while _as_one(unique) in taken:
            next_number[stem] = next_number.get(stem, 1) + 1
            end = f"-{next_number[stem]}"
            unique = _cut(stem, f"{end}.png") + end
        taken.add(_as_one(unique))
        found.append(f"{unique}.png")
    return found


def _safe_stem(name: str) -> str:
    """Returns the name of an image without folders and suffix, valid on every file system."""
    last = PurePosixPath(PureWindowsPath(name).name).stem
    kept = (c if c.isprintable() and c not in '<>:"|?*/\\' else "_" for c in last)
    stem = unicodedata.normalize("NFC", "".join(kept)).lstrip(". ").rstrip(". ")
    is_reserved = stem.partition(".")[0].rstrip().upper() in _RESERVED
    return f"_{stem}" if is_reserved else stem or "image"


def _as_one(stem: str) -> str:
    """Returns a key that is equal for names that some file systems do not distinguish."""
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", stem).casefold())


def _cut(stem: str, end: str) -> str:
    """Shortens a stem so that stem and end fit into 255 bytes."""
    while len(os.fsencode(stem + end)) > _LONGEST_NAME:
        stem = stem[:-1]
    return stem
