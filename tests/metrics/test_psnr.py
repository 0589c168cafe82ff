import numpy as np
import pytest

from keras_vq.metrics import PSNR


@pytest.mark.parametrize("peak", [1.0, 255.0])
def test_equals_the_formula_over_batches(peak, rng):
    truth = (rng.random((10, 5, 6, 3)) * peak).astype("float32")
    found = (truth + rng.normal(size=truth.shape) * peak * rng.random((10, 1, 1, 1)) / 4).astype(
        "float32"
    )
    metric = PSNR(max_value=peak)
    for rows in (slice(0, 4), slice(4, 10)):
        metric.update_state(truth[rows], found[rows])
    # As in scikit-image: 10 log10(range² / MSE) of each image.
    errors = ((truth.astype("float64") - found) ** 2).mean(axis=(1, 2, 3))
    each = 10 * np.log10(peak**2 / errors)
    assert float(metric.result()) == pytest.approx(each.mean(), abs=1e-3)
    # Not the PSNR of the mean error.
    assert abs(each.mean() - 10 * np.log10(peak**2 / errors.mean())) > 0.1
    metric.reset_state()
    metric.update_state(truth[:1], found[:1])
    assert float(metric.result()) == pytest.approx(each[0], abs=1e-3)


def test_weights_of_images():
    truth = np.zeros((2, 4, 4, 1), "float32")
    found = np.stack([truth[0] + 0.1, truth[0] + 0.01])
    metric = PSNR()
    metric.update_state(truth, found, sample_weight=np.array([3.0, 1.0]))
    assert float(metric.result()) == pytest.approx((3 * 20 + 1 * 40) / 4, abs=1e-3)


@pytest.mark.parametrize("peak", [1.0, 255.0])
def test_no_error_counts_as_a_hundred(peak):
    metric = PSNR(max_value=peak)
    metric.update_state(np.ones((2, 4, 4, 1)), np.ones((2, 4, 4, 1)))
    assert float(metric.result()) == pytest.approx(100.0, abs=1e-3)


def test_integer_pixels_do_not_wrap():
    metric = PSNR(max_value=255)
    metric.update_state(np.full((1, 2, 2, 1), 10, "uint8"), np.full((1, 2, 2, 1), 20, "uint8"))
    assert float(metric.result()) == pytest.approx(10 * np.log10(255**2 / 100), abs=1e-3)


def test_config():
    metric = PSNR(max_value=255.0, name="decibels")
    again = PSNR.from_config(metric.get_config())
    assert again.get_config() == metric.get_config()
    assert (again.max_value, again.name) == (255.0, "decibels")
    for bad in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="`max_value` must be a finite positive number"):
            PSNR(max_value=bad)
