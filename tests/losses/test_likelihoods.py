"""Tests of likelihoods: normalization, SciPy's densities, and robustness."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
from keras import ops

from keras_vq.losses import (
    BernoulliNegativeLogLikelihood,
    CategoricalNegativeLogLikelihood,
    DiscretizedLogisticNegativeLogLikelihood,
    GaussianNegativeLogLikelihood,
    LaplaceNegativeLogLikelihood,
)
from tests.gradients import gradients

GRID = np.linspace(-40.0, 40.0, 160_001)
BITS = np.array([0.0, 1.0])
EIGHT = np.linspace(0.0, 1.0, 8)


class Case(NamedTuple):
    """Likelihood of one channel, with the parameters of one value.

    A predicted scale is the exponential of its parameter plus the least scale.
    """

    loss: Any
    parameters: tuple[float, ...]
    # All values, or a grid that covers the density.
    values: np.ndarray
    # (values) -> log p of each value, by SciPy.
    log_p: Any
    expected_value: float


def logistic_mass(values):
    """Computes log-probabilities of eight values, by differences of SciPy's logistic function."""
    edges = np.concatenate([[-np.inf], (EIGHT[1:] + EIGHT[:-1]) / 2, [np.inf]])
    mass = np.diff(scipy.stats.logistic.cdf(edges, 0.4, 0.2))
    return np.log(mass)[np.rint(values * 7).astype(int)]


LOGITS = (0.5, -1.0, 2.0, 0.0, 1.0, -2.0, 0.3, 0.1)
CASES = {
    "bernoulli": Case(
        BernoulliNegativeLogLikelihood(), (0.3,), BITS, scipy.stats.bernoulli(0.3).logpmf, 0.3
    ),
    "gaussian": Case(
        GaussianNegativeLogLikelihood(sigma=0.5),
        (0.3,),
        GRID,
        scipy.stats.norm(0.3, 0.5).logpdf,
        0.3,
    ),
    "gaussian_learned": Case(
        GaussianNegativeLogLikelihood(),
        (0.3, np.log(0.5 - 1e-3)),
        GRID,
        scipy.stats.norm(0.3, 0.5).logpdf,
        0.3,
    ),
    "laplace": Case(
        LaplaceNegativeLogLikelihood(scale=0.5),
        (0.3,),
        GRID,
        scipy.stats.laplace(0.3, 0.5).logpdf,
        0.3,
    ),
    "laplace_learned": Case(
        LaplaceNegativeLogLikelihood(),
        (0.3, np.log(0.5 - 1e-3)),
        GRID,
        scipy.stats.laplace(0.3, 0.5).logpdf,
        0.3,
    ),
    "logistic": Case(
        DiscretizedLogisticNegativeLogLikelihood(scale=0.2, num_values=8),
        (0.4,),
        EIGHT,
        logistic_mass,
        0.4,
    ),
    "logistic_learned": Case(
        DiscretizedLogisticNegativeLogLikelihood(num_values=8),
        (0.4, np.log(0.2 - 1e-4)),
        EIGHT,
        logistic_mass,
        0.4,
    ),
    "categorical": Case(
        CategoricalNegativeLogLikelihood(num_values=8),
        LOGITS,
        EIGHT,
        lambda values: scipy.special.log_softmax(LOGITS)[np.rint(values * 7).astype(int)],
        float(scipy.special.softmax(LOGITS) @ EIGHT),
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def nats(loss, values, parameters):
    predicted = np.tile(np.array(parameters, "float32"), (len(values), 1))
    return ops.convert_to_numpy(loss.call(np.array(values, "float32")[:, None], predicted))


@each_case
def test_probabilities_sum_or_integrate_to_1(case):
    p = np.exp(-nats(case.loss, case.values, case.parameters).astype("float64"))
    assert case.loss.is_discrete == (len(case.values) <= 8)
    total = p.sum() if case.loss.is_discrete else np.trapezoid(p, case.values)
    assert total == pytest.approx(1.0, abs=1e-5)


@each_case
def test_equals_scipy(case):
    values = case.values if case.loss.is_discrete else np.linspace(-2.0, 2.0, 41)
    found = nats(case.loss, values, case.parameters)
    np.testing.assert_allclose(found, -case.log_p(values), rtol=1e-4, atol=1e-5)


@each_case
def test_values_outside_the_range_count_as_the_nearest_inside(case):
    low, high = case.loss.value_range
    inside = np.clip([-0.1, 1.1], low, high)
    found = [nats(case.loss, np.array(x), case.parameters) for x in ([-0.1, 1.1], inside)]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(*found, rtol=1e-6)


@each_case
def test_expected_value(case):
    found = case.loss.expected_value(ops.convert_to_tensor([case.parameters], dtype="float32"))
    assert ops.convert_to_numpy(found) == pytest.approx(case.expected_value, rel=1e-5)


@each_case
def test_sums_over_values_and_channels(case, rng):
    # Two channels: the parameters of the first kind of all channels come first.
    count = case.loss.parameters_per_value
    x = rng.choice(EIGHT if case.loss.is_discrete else GRID / 20, (3, 4, 4, 2)).astype("float32")
    parameters = np.tile(np.array(case.parameters, "float32"), (3, 4, 4, 2, 1))
    if isinstance(case.loss, CategoricalNegativeLogLikelihood):
        predicted = parameters.reshape(3, 4, 4, 2 * count)
    else:
        predicted = np.moveaxis(parameters, -1, -2).reshape(3, 4, 4, 2 * count)
    each = nats(case.loss, x.ravel(), case.parameters).reshape(3, -1)
    found = ops.convert_to_numpy(case.loss.call(x, predicted))
    np.testing.assert_allclose(found, each.sum(axis=1), rtol=1e-5)
    assert float(case.loss(x, predicted)) == pytest.approx(each.sum(axis=1).mean(), rel=1e-5)
    weights = np.array([0.0, 1.0, 2.5], "float32")
    weighted = float(case.loss(x, predicted, sample_weight=weights))
    assert weighted == pytest.approx((weights * each.sum(axis=1)).mean(), rel=1e-5)


@each_case
def test_extreme_parameters_have_finite_loss_and_gradients(case, rng):
    x = np.array([[0.0], [1.0], [0.0], [1.0]], "float32")
    for size in (0.0, 1.0, 100.0, -100.0):
        predicted = np.full((4, len(case.parameters)), size, "float32")
        if isinstance(case.loss, BernoulliNegativeLogLikelihood):
            predicted = np.clip(predicted, 0.0, 1.0)
        if case.loss.parameters_per_value == 2:
            predicted[:, 0] = rng.normal()
            predicted[:, 1] = np.clip(size, -100.0, 20.0)
        assert np.isfinite(ops.convert_to_numpy(case.loss.call(x, predicted))).all(), size
        found = gradients(lambda p: ops.sum(case.loss.call(x, p)), predicted)[0]
        assert np.isfinite(found).all(), size


@each_case
def test_configuration(case):
    again = keras.losses.deserialize(keras.losses.serialize(case.loss))
    assert type(again) is type(case.loss)
    assert again.get_config() == case.loss.get_config()
    values = case.values[:8]
    np.testing.assert_array_equal(
        nats(again, values, case.parameters), nats(case.loss, values, case.parameters)
    )


def test_gray_is_best_predicted_by_its_own_level():
    x = np.full((1, 1), 0.3)
    levels = np.linspace(0.05, 0.95, 19)
    loss = BernoulliNegativeLogLikelihood()
    values = [float(loss(x, np.full((1, 1), level))) for level in levels]
    assert levels[int(np.argmin(values))] == pytest.approx(0.3)


def test_name_and_reduction():
    loss = BernoulliNegativeLogLikelihood(reduction="sum")
    assert loss.name == "bernoulli_negative_log_likelihood"
    half = np.full((3, 2), 0.5)
    assert float(loss(np.ones((3, 2)), half)) == pytest.approx(6 * np.log(2), rel=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GaussianNegativeLogLikelihood(sigma=0.0), "`sigma` must be"),
        (lambda: GaussianNegativeLogLikelihood(min_sigma=-1.0), "`min_sigma` must be"),
        (lambda: LaplaceNegativeLogLikelihood(scale=-1.0), "`scale` must be"),
        (lambda: DiscretizedLogisticNegativeLogLikelihood(num_values=1), "`num_values` must be"),
        (lambda: CategoricalNegativeLogLikelihood(num_values=2.5), "`num_values` must be"),
        (
            lambda: GaussianNegativeLogLikelihood()(np.ones((2, 3)), np.ones((2, 3))),
            "2 channels for each of the 3 channels of `y_true`, 6 in all",
        ),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
