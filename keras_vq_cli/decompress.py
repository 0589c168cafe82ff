"""`keras-vq decompress`: decodes a `.kvq` file of `keras-vq compress` to PNG files."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from keras_vq_cli import arguments, codecs, console
from keras_vq_cli.files import shown, whole_file

_EPILOG = """\
examples:
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


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = arguments.add_command(
        commands,
        "decompress",
        run,
        help="decode the images of a .kvq file",
        description="Decodes the images of a .kvq file and writes them as PNG files. Requires the\n"
        "model, and the prior if any, with which the file was compressed.",
        epilog=_EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help=".kvq file written by keras-vq compress")
    parser.add_argument(
        "-o",
        "--out",
        metavar="FOLDER",
        help="output folder, created if missing (default: NAME-decompressed beside FILE)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing images")
    parser.add_argument(
        "--max-pixels",
        type=arguments.positive_integer,
        metavar="N",
        help="maximum number of pixels per file, with images padded to whole tiles (default: "
        "268435456)",
    )
    codecs.add_options(parser, default="found by its fingerprint")


def run(given: dict[str, Any], args: list[str]) -> None:
    """Runs the command.

    Args:
        given: Dict of the given options.
        args: List of the raw arguments.

    Raises:
        ValueError: If an argument is invalid.
    """
    del args
    file = Path(given["file"])
    if not file.is_file():
        raise ValueError(f"FILE must be an existing file. Received: {shown(file)}")
    data = file.read_bytes()
    if not data.startswith(_MAGIC):
        raise ValueError(
            f'FILE must be a .kvq file, which begins with "KVQ". Received: {shown(file)}, which '
            f"begins with {data[: len(_MAGIC)]!r}"
        )
    header, codec = codecs.of_file(data, file, given)
    stem = _cut(file.stem, "-decompressed")
    out = Path(given["out"]) if "out" in given else file.with_name(f"{stem}-decompressed")
    paths = [out / name for name in file_names(header.names, len(header.image_shapes))]
    there = [path for path in paths if path.exists()]
    if there and not given.get("overwrite", False):
        raise ValueError(f"{shown(there[0])} already exists. Pass --overwrite to replace it.")
    images = codec.decompress(data)
    out.mkdir(parents=True, exist_ok=True)
    for path, image in zip(paths, images, strict=True):
        with whole_file(path) as beside:
            _write_png(image, beside)
    console.result(f"Written: {len(images)} image{'s' if len(images) != 1 else ''} in {shown(out)}")


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


def _write_png(image: Any, path: Path) -> None:
    import numpy as np
    from PIL import Image

    pixels = np.round(np.clip(image, 0, 1) * 255).astype("uint8")
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
