"""Tests of structural similarity (SSIM) against TensorFlow and its definition."""

import keras
import numpy as np
import pytest

from keras_vq.metrics import SSIM


@pytest.fixture
def images(rng):
    clean = rng.random((3, 16, 20, 3)).astype("float32")
    noisy = np.clip(clean + 0.2 * rng.normal(size=clean.shape), 0, 1).astype("float32")
    return clean, noisy


def test_is_that_of_tensorflow(images):
    metric = SSIM()
    metric.update_state(*images)
    value = float(metric.result())
    assert value == pytest.approx(0.84, abs=0.1)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        expected = float(tf.reduce_mean(tf.image.ssim(*images, max_val=1.0)))
        assert value == pytest.approx(expected, abs=1e-5)


def test_follows_the_scale_of_pixels_and_the_weights(images):
    clean, noisy = images
    plain, scaled, weighted = SSIM(), SSIM(max_value=255), SSIM()
    plain.update_state(clean[:1], noisy[:1])
    scaled.update_state(255 * clean[:1], 255 * noisy[:1])
    weighted.update_state(clean, noisy, sample_weight=[1.0, 0.0, 0.0])
    assert float(scaled.result()) == pytest.approx(float(plain.result()), rel=1e-4)
    assert float(weighted.result()) == pytest.approx(float(plain.result()), rel=1e-5)


def test_images_that_are_too_small():
    with pytest.raises(ValueError, match="at least 11 x 11 pixels"):
        SSIM().update_state(np.zeros((1, 8, 8, 1)), np.zeros((1, 8, 8, 1)))
