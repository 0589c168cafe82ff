"""What reconstructions are worth."""

import keras
import numpy as np

import keras_vq


def mean_squared_error(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Mean squared error of pixels in [0, 1], reconstructions clipped to that range."""
    return float(np.square(images - np.clip(reconstructions, 0.0, 1.0), dtype="float64").mean())


def likeness(images: np.ndarray, reconstructions: np.ndarray) -> dict[str, float]:
    """Error, PSNR and SSIM of reconstructions, clipped to [0, 1]."""
    made = np.clip(reconstructions, 0.0, 1.0)
    return {
        "test MSE": mean_squared_error(images, made),
        "PSNR, dB": mean_of(keras_vq.metrics.PSNR(), images, made),
        "SSIM": mean_of(keras_vq.metrics.SSIM(), images, made),
    }


def mean_of(metric: keras.metrics.Metric, images: np.ndarray, made: np.ndarray) -> float:
    """A metric of pairs of images, 500 at a time."""
    for start in range(0, len(images), 500):
        metric.update_state(images[start : start + 500], made[start : start + 500])
    return float(metric.result())
