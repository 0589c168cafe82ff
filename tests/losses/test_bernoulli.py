import keras
import numpy as np
import pytest
from keras import ops

from keras_vq.losses import BernoulliNegativeLogLikelihood


def nats(x, p):
    x, p = x.astype("float64"), np.clip(p.astype("float64"), 1e-7, 1 - 1e-7)
    return -(x * np.log(p) + (1 - x) * np.log(1 - p)).reshape(len(x), -1).sum(axis=1)


@pytest.mark.parametrize("shape", [(4, 5, 3), (6,), (8, 8, 1)])
def test_equals_numpy(shape, rng):
    # Gray levels, then only 0 and 1.
    x = rng.random((7, *shape)).astype("float32")
    x[3:] = np.rint(x[3:])
    p = rng.random((7, *shape)).astype("float32")
    loss = BernoulliNegativeLogLikelihood()
    np.testing.assert_allclose(ops.convert_to_numpy(loss.call(x, p)), nats(x, p), rtol=1e-5)
    assert float(loss(x, p)) == pytest.approx(nats(x, p).mean(), rel=1e-5)


def test_sums_over_pixels():
    # The loss is proportional to the number of pixels.
    loss = BernoulliNegativeLogLikelihood()
    for pixels in (4, 8):
        value = float(loss(np.ones((3, pixels)), np.full((3, pixels), 0.5)))
        assert value == pytest.approx(pixels * np.log(2), rel=1e-5)


def test_gray_is_best_met_by_its_own_level():
    x = np.full((1, 1), 0.3)
    levels = np.linspace(0.05, 0.95, 19)
    loss = BernoulliNegativeLogLikelihood()
    values = [float(loss(x, np.full((1, 1), level))) for level in levels]
    assert levels[int(np.argmin(values))] == pytest.approx(0.3)


def test_extreme_probabilities_are_finite():
    x = np.array([[0.0, 1.0, 0.0, 1.0]], "float32")
    p = np.array([[1.0, 0.0, 0.0, 1.0]], "float32")
    value = float(BernoulliNegativeLogLikelihood()(x, p))
    # Two wrong pixels: twice -log of the smallest probability.
    assert 2 * np.log(1e6) < value < 2 * np.log(1e8)


def test_weights_of_images(rng):
    x, p = rng.random((4, 3, 3, 1)).astype("float32"), rng.random((4, 3, 3, 1)).astype("float32")
    weights = np.array([0.0, 1.0, 2.0, 0.5], "float32")
    value = float(BernoulliNegativeLogLikelihood()(x, p, sample_weight=weights))
    assert value == pytest.approx((weights * nats(x, p)).mean(), rel=1e-5)


def test_config_and_name():
    loss = BernoulliNegativeLogLikelihood(reduction="sum")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is BernoulliNegativeLogLikelihood
    assert again.get_config() == loss.get_config()
    assert again.name == "bernoulli_negative_log_likelihood"
    assert float(again(np.ones((3, 2)), np.full((3, 2), 0.5))) == pytest.approx(
        6 * np.log(2), rel=1e-5
    )
