"""Fuzz target of image files in all supported formats."""

import io
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from tests.fuzz import mutations
from tests.fuzz.targets.base import SilentlyWrong, Target

_PNG_START = b"\x89PNG\r\n\x1a\n"


class Case(NamedTuple):
    """Mutated file and its format."""

    data: bytes
    name: str


class ImageTarget(Target):
    """Image files, read by `read_image`."""

    cases = 2_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from keras_vq.data import read_image

        self.read = read_image
        self.originals = _originals()

    def make(self, rng: np.random.Generator) -> Case:
        """Returns a mutated file; the checksums of half of the PNG files are repaired."""
        names = list(self.originals)
        name = names[int(rng.integers(len(names)))]
        originals = self.originals[name]
        original = originals[int(rng.integers(len(originals)))]
        data = mutations.mutate(original, rng, originals)
        if name == "png" and rng.random() < 0.5:
            return Case(_repaired(data), "png, repaired")
        return Case(data, name)

    def kind(self, case: Case) -> str:
        """Returns the format."""
        return case.name

    def run(self, case: Case) -> str:
        """Reads the image in its original size and in the shape of a model."""
        path = self.folder / f"image.{case.name.partition(',')[0]}"
        path.write_bytes(case.data)
        for shape in (None, (8, 8, 3)):
            image = self.read(path, shape)
            right = image.ndim == 3 and image.shape[-1] in (1, 3) and image.dtype == np.float32
            if not right or not (image.size and image.min() >= 0 and image.max() <= 1):
                raise SilentlyWrong(f"an image of {image.shape}, {image.dtype}")
        return "read"


def _originals() -> dict[str, list[bytes]]:
    """Returns small files of each format, in several modes."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 4), "uint8")
    rgba = PIL.Image.fromarray(noise)
    gray = PIL.Image.fromarray(noise[..., 0])
    rgb = rgba.convert("RGB")
    palette = rgb.quantize(16)
    deep = PIL.Image.fromarray(noise[..., :2].copy().view("uint16")[..., 0])
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}

    def encoded(image: PIL.Image.Image, kind: str, **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    return {
        "png": [
            encoded(rgba, "PNG", exif=exif),
            encoded(gray, "PNG", transparency=3),
            encoded(palette, "PNG", transparency=1),
            encoded(deep, "PNG"),
            encoded(rgb.convert("1"), "PNG"),
        ],
        "jpg": [
            encoded(rgb, "JPEG", exif=exif),
            encoded(gray, "JPEG", progressive=True),
            encoded(rgb.convert("CMYK"), "JPEG"),
        ],
        "webp": [
            encoded(rgba, "WebP", lossless=True),
            encoded(rgb, "WebP", exif=exif),
            encoded(rgb, "WebP", **frames),
        ],
        "gif": [encoded(palette, "GIF", transparency=2), encoded(rgb, "GIF", **frames)],
        "bmp": [encoded(rgb, "BMP"), encoded(gray, "BMP"), encoded(palette, "BMP")],
        "tif": [
            encoded(rgba, "TIFF", compression="tiff_deflate", exif=exif),
            encoded(rgb, "TIFF", compression="jpeg"),
            encoded(gray, "TIFF", compression="tiff_lzw"),
            encoded(deep, "TIFF"),
            encoded(rgb.convert("1"), "TIFF", compression="group4"),
            encoded(rgb, "TIFF", **frames),
        ],
    }


def _repaired(data: bytes) -> bytes:
    """Repairs the checksums of PNG chunks as far as their lengths allow."""
    made, place = bytearray(_PNG_START + data[len(_PNG_START) :]), len(_PNG_START)
    while place + 12 <= len(made):
        (length,) = struct.unpack_from(">I", made, place)
        end = place + 8 + length
        if end + 4 > len(made):
            break
        struct.pack_into(">I", made, end, zlib.crc32(made[place + 4 : end]))
        place = end + 4
    return bytes(made)
