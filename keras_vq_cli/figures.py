"""What a trained model scores on images that it has not seen."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keras_vq import VQVAE
from keras_vq.data import ImageDataset
from keras_vq_cli.checkpoints import loss_first

_IMAGES_AT_ONCE = 1024
# The PSNR of an image without error, as in keras_vq.metrics.PSNR.
_MOST_DECIBELS = 100.0


def test_figures(model: keras.Model, images: ImageDataset, batch_size: int) -> dict[str, Any]:
    """Loss terms, error of the reconstructions and size of the codes.

    Args:
        model: A trained model.
        images: Images that it was not trained on.
        batch_size: Images computed at a time.

    Returns:
        Every term of the loss and every metric of the model, `mse` and `psnr` (decibels) of the
        reconstructions clipped to [0, 1], `bits_per_image` (None without codes), `parameters` and
        `test_images`.
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


def mean_squared_errors(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Mean squared error of each image, its reconstruction clipped to [0, 1]: float64, (n,)."""
    difference = np.clip(reconstructions, 0.0, 1.0).astype("float64") - images
    return np.square(difference).reshape(len(images), -1).mean(axis=1)


def peak_signal_to_noise_ratios(errors: np.ndarray) -> np.ndarray:
    """The PSNR of mean squared errors, in decibels; 100 where there is no error."""
    return -10.0 * np.log10(np.maximum(errors, 10.0 ** (-_MOST_DECIBELS / 10.0)))


def bits_per_image(model: keras.Model, image: np.ndarray) -> float | None:
    """Bits of the codes of one image, shape `(1, ...)`; None for a model without codes."""
    if not isinstance(model, VQVAE):
        return None
    sizes = model.quantizer.codebook_sizes
    vectors = model.encode_to_codes(image).size // len(sizes)
    return vectors * sum(math.log2(size) for size in sizes)


def parameters(model: keras.Model) -> int:
    """Numbers that the model has learnt: its weights and, however they learn, its codes."""
    learnt = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    codebook = getattr(getattr(model, "quantizer", None), "codebook", None)
    if codebook is not None and not codebook.trainable_weights:
        learnt += codebook.codebook_size * codebook.dim
    return learnt


def _blocks(images: ImageDataset) -> Any:
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        yield np.divide(images.pixels[start : start + _IMAGES_AT_ONCE], 255, dtype="float32")
