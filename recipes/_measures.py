"""Reconstruction metrics."""

import keras
import numpy as np

import keras_vq


def mean_squared_error(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Computes the mean squared error; reconstructions are clipped to [0, 1]."""
    return float(np.square(images - np.clip(reconstructions, 0.0, 1.0), dtype="float64").mean())


def likeness(images: np.ndarray, reconstructions: np.ndarray) -> dict[str, float]:
    """Computes MSE, PSNR and SSIM of reconstructions, clipped to [0, 1]."""
    made = np.clip(reconstructions, 0.0, 1.0)
    return {
        "test MSE": mean_squared_error(images, made),
        "PSNR, dB": mean_of(keras_vq.metrics.PSNR(), images, made),
        "SSIM": mean_of(keras_vq.metrics.SSIM(), images, made),
    }


def mean_of(metric: keras.metrics.Metric, images: np.ndarray, made: np.ndarray) -> float:
    """Computes a metric of image pairs in batches of 500."""
    for start in range(0, len(images), 500):
        metric.update_state(images[start : start + 500], made[start : start + 500])
    return float(metric.result())
