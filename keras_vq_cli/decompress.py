"""`keras-vq decompress`: the images of a file that `keras-vq compress` wrote."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from keras_vq_cli import arguments, codecs, console
from keras_vq_cli.files import whole_file

_EPILOG = """\
examples:
  keras-vq decompress holiday.kvq -o seen
  keras-vq decompress photo.kvq --model runs/vqvae-photos --prior prior.keras
"""


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = arguments.add_command(
        commands,
        "decompress",
        run,
        help="write the images of a file that compress wrote",
        description="Decodes the images of a .kvq file with the model, and the prior, that it\n"
        "was made with, and writes them as PNG files.",
        epilog=_EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help="file that keras-vq compress wrote")
    parser.add_argument(
        "-o",
        "--out",
        metavar="FOLDER",
        help="folder to write to, made if there is none (default: NAME-decompressed beside FILE)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace images that are there")
    codecs.add_options(parser)


def run(given: dict[str, Any], args: list[str]) -> None:
    """Runs the command.

    Args:
        given: The options that were given, by name.
        args: The arguments as they were typed.

    Raises:
        ValueError: If the user made a mistake.
    """
    del args
    file = Path(given["file"])
    if not file.is_file():
        raise ValueError(f"There is no such file. Received: {file}")
    data = file.read_bytes()
    codec = codecs.of_options(given)

    from keras_vq.codec import read_header

    header = read_header(data)
    out = Path(given["out"]) if "out" in given else file.with_name(f"{file.stem}-decompressed")
    paths = [out / name for name in _file_names(header.names, len(header.image_shapes))]
    there = [path for path in paths if path.exists()]
    if there and not given.get("overwrite", False):
        raise ValueError(f"{there[0]} is there already: --overwrite replaces it")
    images = codec.decompress(data)
    out.mkdir(parents=True, exist_ok=True)
    for path, image in zip(paths, images, strict=True):
        with whole_file(path) as beside:
            _write_png(image, beside)
    console.result(f"Written: {len(images)} images in {out}")


def _file_names(names: tuple[str, ...], count: int) -> list[str]:
    """Names of the files to write: no two alike, and none that leads out of the folder."""
    wanted = list(names) or [f"{number:0{len(str(count))}}" for number in range(1, count + 1)]
    found: list[str] = []
    # Some disks take A and a for one.
    taken: set[str] = set()
    next_number: dict[str, int] = {}
    for name in wanted:
        stem = unique = PurePosixPath(PureWindowsPath(name).name).stem.lstrip(".") or "image"
        while unique.casefold() in taken:
            next_number[stem] = next_number.get(stem, 1) + 1
            unique = f"{stem}-{next_number[stem]}"
        taken.add(unique.casefold())
        found.append(f"{unique}.png")
    return found


def _write_png(image: Any, path: Path) -> None:
    import numpy as np
    from PIL import Image

    pixels = np.round(np.clip(image, 0, 1) * 255).astype("uint8")
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
