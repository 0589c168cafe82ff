"""Compression compared with JPEG, WebP and PNG: bits per pixel against error, MNIST and CIFAR-10.

`keras_vq.codec.ImageCodec` writes the test images to one file, with packed codes and with codes
that are range-coded with a prior. The models are those of `generate_mnist` and `generate_cifar10`.
The other formats are measured in their best case for such small images, all images on one sheet
(no header overhead, similar neighbors), and with one file per image. The codes of every `.kvq` file
are decoded again and compared. Reading such a file requires the model and the prior, whose sizes
are not counted. The CIFAR-10 images come from a JPEG copy if the data set does, which makes the
figures of JPEG better than they would be.

Run: python -m recipes.compress [--limit 10000] [--datasets mnist]
"""

import argparse
import io

import numpy as np
from PIL import Image

import keras_vq
from keras_vq.codec import ImageCodec
from keras_vq.priors import PixelCNNPrior, TransformerPrior
from recipes import generate_cifar10, generate_mnist
from recipes._generation import fitted_prior
from recipes._pictures import draw_rate_distortion
from recipes.common import (
    Stopwatch,
    add_datasets,
    kept_models,
    likeness,
    name_of_run,
    results_folder,
    save,
)

SEED = 0
# Images along each side of a sheet.
SIDE = 100
# Options for the smallest files at a given quality.
JPEG: dict[str, object] = {"format": "JPEG", "optimize": True, "progressive": True}
WEBP: dict[str, object] = {"format": "WebP", "method": 6}
# By number of channels: JPEG may store color at half the resolution.
LOSSY: dict[int, dict[str, dict[str, object]]] = {
    1: {"JPEG": JPEG, "WebP": WEBP},
    3: {
        "JPEG 4:2:0": {**JPEG, "subsampling": "4:2:0"},
        "JPEG 4:4:4": {**JPEG, "subsampling": "4:4:4"},
        "WebP": WEBP,
    },
}
LOSSLESS: dict[str, dict[str, object]] = {
    "WebP lossless": {**WEBP, "lossless": True},
    "PNG": {"format": "PNG", "optimize": True},
}
# Quality at which the lossy formats are also measured with one file per image.
SINGLE = 20
QUALITIES = (1, 5, 10, SINGLE, 40, 60, 80, 95)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    parser.add_argument("--vqvae-epochs", type=int, default=generate_mnist.VQVAE_EPOCHS)
    parser.add_argument("--prior-epochs", type=int, help="instead of those of the two recipes")
    add_datasets(parser)
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    table: dict[str, dict[str, object]] = {}
    for dataset in arguments.datasets:
        test = keras_vq.data.load(dataset, "test").take(arguments.limit)
        vqvae, prior = MODELS[dataset](arguments)
        for name, codec in {
            "VQ-VAE, codes packed": ImageCodec(vqvae),
            f"VQ-VAE, {type(prior).__name__}": ImageCodec(vqvae, prior),
        }.items():
            table[f"{dataset}: {name}"] = ours(codec, test.images)
        for name, row in others(test.pixels).items():
            table[f"{dataset}: {name}"] = row
    families = tuple(LOSSY[1] | LOSSY[3])
    name = name_of_run("compress", arguments.datasets)
    draw_rate_distortion(table, families, results_folder() / f"{name}.png")
    save(name, table, SEED, stopwatch)


def ours(codec: ImageCodec, images: np.ndarray) -> dict[str, object]:
    """Writes all images to one file and returns its size and the reconstruction error."""
    data = codec.compress(images)
    codes = codec.decompress_codes(data)
    made = codec.vqvae.decode(codes)
    same = codes == codec.vqvae.encode(images)
    return {
        **size(len(data), images),
        **likeness(images, made),
        "codes recovered, %": 100 * float(np.mean(same)),
    }


def others(pixels: np.ndarray) -> dict[str, dict[str, object]]:
    """Measures the other formats on sheets and with one file per image."""
    images = pixels.astype("float32") / 255
    lossy = {
        f"{form} {quality}": {**options, "quality": quality}
        for form, options in LOSSY[pixels.shape[-1]].items()
        for quality in QUALITIES
    }
    single = {name: options for name, options in lossy.items() if name.endswith(f" {SINGLE}")}
    layouts = {
        "sheets": (sheets(pixels), lossy | LOSSLESS),
        "a file each": (list(pixels), single | LOSSLESS),
    }
    rows: dict[str, dict[str, object]] = {}
    for layout, (pictures, formats) in layouts.items():
        for name, options in formats.items():
            files = [encoded(picture, **options) for picture in pictures]
            made = np.stack([decoded(file, pixels.shape[-1]) for file in files])
            made = cut(made, pixels.shape) if layout == "sheets" else made
            rows[f"{name}, {layout}"] = {
                **size(sum(map(len, files)), images),
                **likeness(images, made.astype("float32") / 255),
            }
    return rows


def encoded(pixels: np.ndarray, **options: object) -> bytes:
    """Encodes a picture."""
    file = io.BytesIO()
    gray = pixels.shape[-1] == 1
    picture = Image.fromarray(pixels[..., 0] if gray else pixels)
    # WebP supports RGB only.
    picture = picture.convert("RGB") if options["format"] == "WebP" else picture
    picture.save(file, **options)
    return file.getvalue()


def decoded(file: bytes, channels: int) -> np.ndarray:
    """Decodes a picture; a gray one may have been stored as RGB."""
    with Image.open(io.BytesIO(file), formats=("PNG", "JPEG", "WebP")) as picture:
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def sheets(pixels: np.ndarray) -> list[np.ndarray]:
    """Arranges images on square sheets; the last sheet is padded with black."""
    count = SIDE * SIDE
    filled = np.concatenate([pixels, np.zeros((-len(pixels) % count, *pixels.shape[1:]), "uint8")])
    grids = filled.reshape(-1, SIDE, SIDE, *pixels.shape[1:]).swapaxes(2, 3)
    return list(grids.reshape(-1, SIDE * pixels.shape[1], SIDE * pixels.shape[2], pixels.shape[3]))


def cut(made: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Cuts sheets back into images."""
    count, height, width, channels = shape
    grids = made.reshape(-1, SIDE, height, SIDE, width, channels)
    return grids.swapaxes(2, 3).reshape(-1, height, width, channels)[:count]


def size(taken: int, images: np.ndarray) -> dict[str, object]:
    """Returns bytes per image and bits per pixel."""
    height, width = images.shape[1:3]
    return {
        "bytes per image": taken / len(images),
        "bits per pixel": 8 * taken / (len(images) * height * width),
    }


def mnist_models(arguments: argparse.Namespace) -> tuple[keras_vq.VQVAE, PixelCNNPrior]:
    """Returns the models of `generate_mnist`, from the cache or trained now."""
    train = keras_vq.data.load("mnist", "train").take(arguments.limit)
    test = keras_vq.data.load("mnist", "test").take(arguments.limit)
    folder = kept_models("generate_mnist", arguments.limit)
    epochs = arguments.prior_epochs or generate_mnist.PRIOR_EPOCHS, arguments.vqvae_epochs
    vqvae = generate_mnist.trained_vqvae(folder, train.images, epochs[1])
    path = folder / generate_mnist.prior_file("PixelCNN", *epochs)
    return vqvae, fitted_prior(
        path, PixelCNNPrior.for_model, vqvae, train, test, False, epochs[0], SEED
    )[0]


def cifar10_models(arguments: argparse.Namespace) -> tuple[keras_vq.VQVAE, TransformerPrior]:
    """Returns the models of `generate_cifar10`, from the cache or trained now."""
    limit = min(arguments.limit, 50_000)
    epochs = arguments.prior_epochs or generate_cifar10.EPOCHS
    train = keras_vq.data.load("cifar10", "train").take(limit)
    test = keras_vq.data.load("cifar10", "test").take(limit)
    vqvae = keras_vq.VQVAE.from_preset("vqvae_cifar10")
    path = kept_models("generate_cifar10", limit) / generate_cifar10.prior_file(epochs)
    return vqvae, fitted_prior(
        path, TransformerPrior.for_model, vqvae, train, test, True, epochs, SEED
    )[0]


MODELS = {"mnist": mnist_models, "cifar10": cifar10_models}


if __name__ == "__main__":
    main()
