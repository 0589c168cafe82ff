"""Evaluation of a trained model on test images."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keras_vq.data import ImageDataset
from keras_vq.models import CodeModel
from keras_vq.ops import peak_signal_to_noise_ratio
from keras_vq_cli.checkpoints import loss_first

_IMAGES_AT_ONCE = 1024


def test_figures(model: keras.Model, images: ImageDataset, batch_size: int) -> dict[str, Any]:
    """Computes loss terms, reconstruction errors and code size on test images.

    Args:
        model: A trained model.
        images: `ImageDataset`. Test images.
        batch_size: Integer. Number of images per batch.

    Returns:
        Dict with all loss terms and metrics of the model, mean `mse` and `psnr` (in decibels) of
        the reconstructions clipped to [0, 1], `bits_per_image` (`None` for a model without codes),
        `parameters` and `test_images`.
    """
    terms = model.evaluate(images.batches(batch_size), return_dict=True, verbose=0)
    errors = np.concatenate(
        [
            mean_squared_errors(original, model.reconstruct(original, batch_size))
            for original in _blocks(images)
        ]
    )
    return {
        **loss_first(terms),
        "mse": float(errors.mean()),
        "psnr": float(peak_signal_to_noise_ratios(errors).mean()),
        "bits_per_image": bits_per_image(model, next(_blocks(images))[:1]),
        "parameters": parameters(model),
        "test_images": len(images),
    }


_MEANINGS = {
    "loss": "total training loss",
    "reconstruction_loss": "reconstruction term of the loss",
    "quantization_loss": "commitment and codebook terms of the loss",
    "kl_loss": "KL divergence, nats per image",
    "perplexity": "perplexity of the codes",
    "codebook_usage": "fraction of codes in use",
    "mse": "mean squared error of pixels in [0, 1]",
    "psnr": "peak signal-to-noise ratio, dB",
    "bits_per_image": "size of the codes, bits per image",
    "parameters": "number of trained parameters",
    "epochs": "number of training epochs",
    "train_seconds": "training time, seconds",
}


def table(figures: dict[str, Any], title: str) -> Any:
    """Returns a rich table of figures with their descriptions."""
    from rich.table import Table

    table = Table(title=title)
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("description", style="dim")
    for name, value in figures.items():
        if value is not None and name != "test_images":
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            text = f"{value:,}" if isinstance(value, int) else text
            table.add_row(name, text, _MEANINGS.get(name, ""))
    return table


def mean_squared_errors(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Computes the MSE of each image and its clipped reconstruction. Float64, shape `(n,)`."""
    difference = np.clip(reconstructions, 0.0, 1.0).astype("float64") - images
    return np.square(difference).reshape(len(images), -1).mean(axis=1)


def peak_signal_to_noise_ratios(errors: np.ndarray) -> np.ndarray:
    """Converts mean squared errors to PSNR in decibels, at most 100."""
    return keras.ops.convert_to_numpy(peak_signal_to_noise_ratio(errors))


def bits_per_image(model: keras.Model, image: np.ndarray) -> float | None:
    """Computes the code size of an image `(1, ...)` in bits; `None` for a model without codes."""
    if not isinstance(model, CodeModel):
        return None
    codes = model.encode(image)
    grids = codes if isinstance(codes, tuple) else (codes,)
    return sum(
        grid.size / len(quantizer.codebook_sizes) * quantizer.bits_per_vector
        for grid, quantizer in zip(grids, quantizers(model), strict=True)
    )


def quantizers(model: keras.Model) -> list[Any]:
    """Returns the quantizers of a model, in the order of its code grids."""
    names = ("quantizer", "top_quantizer", "bottom_quantizer")
    return [getattr(model, name) for name in names if hasattr(model, name)]


def parameters(model: keras.Model) -> int:
    """Counts trainable weights and, if it is not trained by gradient, the codebook."""
    learned = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    for quantizer in quantizers(model):
        codebook = getattr(quantizer, "codebook", None)
        if codebook is not None and not codebook.trainable_weights:
            learned += codebook.codebook_size * codebook.dim
    return learned


def _blocks(images: ImageDataset) -> Any:
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        yield np.divide(images.pixels[start : start + _IMAGES_AT_ONCE], 255, dtype="float32")
