import keras
import numpy as np
import pytest
from keras import ops

from keras_vq.layers import GaussianSampling

N = 40_000
MEAN = np.tile(np.array([0.0, -2.0, 5.0], "float32"), (N, 1))
VARIANCE = np.array([1.0, 0.04, 9.0])
LOG_VARIANCE = np.tile(np.log(VARIANCE).astype("float32"), (N, 1))


def test_moments():
    z = ops.convert_to_numpy(GaussianSampling(seed=0)(MEAN, LOG_VARIANCE)).astype("float64")
    # Tolerance: five standard errors of each estimate.
    assert (np.abs(z.mean(axis=0) - MEAN[0]) < 5 * np.sqrt(VARIANCE / N)).all()
    assert (np.abs(z.var(axis=0) - VARIANCE) < 5 * VARIANCE * np.sqrt(2 / N)).all()
    standard = (z - MEAN) / np.sqrt(VARIANCE)
    assert (np.abs((standard**3).mean(axis=0)) < 5 * np.sqrt(15 / N)).all()
    assert (np.abs((standard**4).mean(axis=0) - 3) < 5 * np.sqrt(96 / N)).all()
    assert np.abs(np.corrcoef(standard.T) - np.eye(3)).max() < 5 / np.sqrt(N)


def test_is_the_reparameterization():
    # The same seed gives the same ε in mean + deviation * ε.
    zeros = np.zeros((5, 3), "float32")
    noise = ops.convert_to_numpy(GaussianSampling(seed=4)(zeros, zeros))
    z = ops.convert_to_numpy(GaussianSampling(seed=4)(MEAN[:5], LOG_VARIANCE[:5]))
    np.testing.assert_allclose(z, MEAN[:5] + np.sqrt(VARIANCE) * noise, rtol=1e-5)


def test_seed():
    zeros = np.zeros((5, 3), "float32")
    first, same, other = (GaussianSampling(seed=seed) for seed in (1, 1, 2))
    draws = [ops.convert_to_numpy(layer(zeros, zeros)) for layer in (first, first, same, other)]
    assert (draws[0] != draws[1]).all()
    np.testing.assert_array_equal(draws[0], draws[2])
    assert (draws[0] != draws[3]).all()


def test_shape_config_and_type():
    layer = GaussianSampling(seed=1, name="draw")
    symbolic = layer(keras.Input((4, 4, 2)), keras.Input((4, 4, 2)))
    assert symbolic.shape == (None, 4, 4, 2)
    again = GaussianSampling.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.seed, again.name) == (1, "draw")
    half = GaussianSampling(dtype="float16")(np.zeros((2, 3)), np.zeros((2, 3)))
    assert keras.backend.standardize_dtype(half.dtype) == "float16"


@pytest.mark.parametrize("log_variance", [-200.0, -30.0])
def test_without_variance_the_sample_is_the_mean(log_variance):
    mean = MEAN[:4]
    z = GaussianSampling()(mean, np.full_like(mean, log_variance))
    np.testing.assert_allclose(ops.convert_to_numpy(z), mean, atol=1e-5)
