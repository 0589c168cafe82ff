"""Tests of metrics of generated images, against closed forms and definitions."""

import itertools
import sys

import keras
import numpy as np
import pytest
import scipy.linalg
from keras import layers, ops

from keras_vq.metrics import (
    compare_images,
    frechet_distance,
    image_features,
    kernel_distance,
    precision_recall,
)

backend_free = pytest.mark.backend_free


def with_moments(rng, n, mean, covariance):
    """Draws vectors with exactly the given sample mean and covariance."""
    noise = rng.normal(size=(n, len(mean)))
    noise -= noise.mean(axis=0)
    white = noise @ np.linalg.inv(np.linalg.cholesky(np.cov(noise.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def rotation(rng, dim):
    return np.linalg.qr(rng.normal(size=(dim, dim)))[0]


# --- Fréchet distance


@backend_free
@pytest.mark.parametrize("rotated", [False, True], ids=["diagonal", "commuting"])
def test_frechet_distance_of_covariances_that_commute(rng, rotated):
    # For commuting covariances it is |μ₁ - μ₂|² + Σ (σ₁ - σ₂)².
    axes = rotation(rng, 3) if rotated else np.eye(3)
    deviations = np.array([[1.0, 2.0, 0.5], [3.0, 1.0, 0.5]])
    means = np.array([[0.0, 1.0, -1.0], [2.0, 1.0, 0.0]])
    sets = [
        with_moments(rng, n, mean, (axes * own**2) @ axes.T)
        for n, mean, own in zip((20, 5000), means, deviations, strict=True)
    ]
    assert frechet_distance(*sets) == pytest.approx((4 + 1) + (4 + 1), rel=1e-9)


@backend_free
def test_frechet_distance_is_that_of_the_matrix_root(rng):
    x = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6))
    y = 1.0 + rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    first, second = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(first @ second).real
    mean = np.square(x.mean(axis=0) - y.mean(axis=0)).sum()
    expected = mean + np.trace(first + second - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)
    # Far from the origin, and in float32.
    assert frechet_distance(x + 1e4, y + 1e4) == pytest.approx(expected, rel=1e-9)
    single = frechet_distance(x.astype("float32"), y.astype("float32"))
    assert single == pytest.approx(expected, rel=1e-4)


@backend_free
def test_frechet_distance_of_features_that_are_dependent(rng):
    x = rng.normal(size=(50, 3))
    x, y = np.repeat(x, 2, axis=1), np.repeat(x + 1, 2, axis=1)
    x[:, -1], y[:, -1] = 0.0, 2.0  # no variance
    assert 0 <= frechet_distance(x, x) < 1e-12
    assert frechet_distance(x, y) == pytest.approx(5 * 1 + 4, rel=1e-9)


@backend_free
def test_frechet_distance_needs_more_images_than_features(rng):
    features = rng.normal(size=(9, 8))
    frechet_distance(features, features)
    with pytest.raises(ValueError, match=r"at least 9 images.*Received: 8 real and 9 generated"):
        frechet_distance(features[:8], features)


# --- kernel distance


def squared_mmd(x, y):
    """Computes lemma 6 of Gretton et al., 2012, in loops."""

    def kernel(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within += sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within - 2 * sum(kernel(a, b) for a, b in itertools.product(x, y)) / (n * m)


@backend_free
def test_kernel_distance_is_the_sum_over_pairs(rng, monkeypatch):
    x, y = rng.normal(size=(15, 4)), 0.5 + rng.normal(size=(15, 4))
    mean, deviation = kernel_distance(x, y, subsets=3, subset_size=15)
    # Subsets of full size are the whole set.
    assert mean == pytest.approx(squared_mmd(x, y), rel=1e-9)
    assert deviation == pytest.approx(0, abs=1e-9)
    monkeypatch.setattr(sys.modules["keras_vq.metrics.kernel_distance"], "_ROWS", 4)
    assert kernel_distance(x, y, 1, 15)[0] == pytest.approx(mean, rel=1e-12)


@backend_free
def test_kernel_distance_is_unbiased(rng):
    x, y = rng.normal(size=(2000, 1)), 1.0 + rng.normal(size=(2000, 1))
    whole, _ = kernel_distance(x, y, subsets=1, subset_size=2000)
    # E (ab + 1)³ = E[a³]² + 3 E[a²]² + 3 E[a]² + 1; the moments of N(0, 1) are 0, 1, 0, those of
    # N(1, 1) are 1, 2, 4.
    assert whole == pytest.approx((3 + 1) + (16 + 12 + 3 + 1) - 2 * (6 + 1), rel=0.2)
    for size in (2, 20):
        mean, deviation = kernel_distance(x, y, subsets=1000, subset_size=size)
        assert abs(mean - whole) < 4 * deviation / np.sqrt(1000)
    mean, deviation = kernel_distance(x[:1000], x[1000:], subsets=500, subset_size=20)
    assert abs(mean) < 0.3 * deviation


@backend_free
def test_kernel_distance_is_of_the_seed(rng):
    x, y = rng.normal(size=(2, 50, 3))
    assert kernel_distance(x, y, 5, 10) == kernel_distance(x, y, 5, 10)
    assert kernel_distance(x, y, 5, 10, seed=1) != kernel_distance(x, y, 5, 10)
    draws = {kernel_distance(x, y, 5, 10, seed=None) for _ in range(3)}
    assert len(draws) == 3
    with pytest.raises(ValueError, match=r"at least 1000 images.*`subset_size`.*Received: 50 real"):
        kernel_distance(x, y)
    with pytest.raises(ValueError, match=r"`subset_size` must be at least 2\. Received: 1"):
        kernel_distance(x, y, subset_size=1)
    with pytest.raises(ValueError, match="`subsets` must be a positive integer"):
        kernel_distance(x, y, subsets=0)


# --- precision and recall


@backend_free
def test_precision_and_recall_of_modes(rng):
    modes = 100.0 * np.arange(4)[:, None, None] + rng.normal(size=(4, 50, 2))
    one, other, third, fourth = modes
    everything = np.concatenate(modes)
    assert precision_recall(one, other) == (0.0, 0.0)
    assert precision_recall(everything, everything) == (1.0, 1.0)
    # Half of the modes are generated, without other images.
    assert precision_recall(everything, np.concatenate([one, other])) == (1.0, 0.5)
    # All modes are generated, and as many other images.
    assert precision_recall(np.concatenate([one, other]), everything) == (0.5, 1.0)
    half = np.concatenate([one, third]), np.concatenate([one, fourth])
    assert precision_recall(*half) == (0.5, 0.5)


def covered(vectors, by, k):
    """Computes the definition in loops."""
    radii = [sorted(np.linalg.norm(by - b, axis=1))[k] for b in by]
    inside = [
        any(np.linalg.norm(v - b) <= r for b, r in zip(by, radii, strict=True)) for v in vectors
    ]
    return np.mean(inside)


@backend_free
@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_the_definition(rng, k, monkeypatch):
    x, y = rng.normal(size=(60, 3)), 0.7 + rng.normal(size=(40, 3))
    expected = covered(y, x, k), covered(x, y, k)
    assert 0 < expected[0] < expected[1] < 1 or 0 < expected[1] < expected[0] < 1
    assert precision_recall(x, y, k) == pytest.approx(expected)
    monkeypatch.setattr(sys.modules["keras_vq.metrics.precision_recall"], "_DISTANCES", 7 * 60)
    assert precision_recall(x, y, k) == pytest.approx(expected)


@backend_free
def test_copies_are_no_neighbors_at_a_distance(rng):
    # A single repeated image must be within its own radius despite rounding.
    x = rng.normal(size=(20, 64)) + 1e3
    same = np.repeat(x[:1], 20, axis=0)
    assert precision_recall(same, same) == (1.0, 1.0)
    precision, recall = precision_recall(x, same)
    assert precision == 1.0
    assert recall == pytest.approx(1 / 20)
    with pytest.raises(ValueError, match=r"at least 4 images.*3 neighbors.*Received: 3 real"):
        precision_recall(x[:3], x)
    with pytest.raises(ValueError, match="`k` must be a positive integer"):
        precision_recall(x, x, k=0)


# --- invalid features


@backend_free
@pytest.mark.parametrize("measure", [frechet_distance, kernel_distance, precision_recall])
def test_features_that_are_none(measure, rng):
    good = rng.normal(size=(20, 4))
    spoilt = good.copy()
    spoilt[3, 2] = np.nan
    for real, generated, text in [
        (good[:, :, None], good, r"`real_features` must be features of shape \(n, dim\)"),
        (good, good[:0], r"`generated_features` must be .*Received: shape \(0, 4\)"),
        (good, spoilt, r"`generated_features` must be finite.*Received: 1 values"),
        (-np.inf * np.ones((20, 4)), good, r"`real_features` must be finite.*Received: 80"),
        (good, good[:, :3], r"same number of features.*Received: shapes \(20, 4\) and \(20, 3\)"),
        (good.astype(str), good, "`real_features` must contain real numbers"),
    ]:
        with pytest.raises(ValueError, match=text):
            measure(real, generated)


# --- networks


@pytest.fixture
def network():
    inputs = keras.Input((8, 8, 1))
    x = layers.Dropout(0.9)(layers.Flatten()(inputs))
    return keras.Model(inputs, layers.Dense(3)(x))


class InLayer(keras.Layer):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def call(self, images, training=None):
        return self.network(images, training=training)


def test_features_of_a_model_a_layer_and_a_function(network, rng):
    images = rng.random((10, 8, 8, 1))
    kernel, bias = (ops.convert_to_numpy(weight) for weight in network.weights)
    expected = images.reshape(10, 64) @ kernel + bias
    for given in (network, InLayer(network), lambda batch: network(batch, training=False)):
        features = image_features(given, images, batch_size=4)
        assert isinstance(features, np.ndarray)
        np.testing.assert_allclose(features, expected, atol=1e-5)
    features = image_features(network, ops.convert_to_tensor(images, dtype="float32"))
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_compare_images_is_all_measures(network, digits):
    real, generated = digits[:60], np.clip(digits[60:120] + 0.2, 0, 1)
    scores = compare_images(network, real, generated, subsets=5, subset_size=20, k=2, seed=1)
    features = image_features(network, real), image_features(network, generated)
    distance, deviation = kernel_distance(*features, 5, 20, seed=1)
    precision, recall = precision_recall(*features, 2)
    assert scores == pytest.approx(
        {
            "frechet_distance": frechet_distance(*features),
            "kernel_distance": distance,
            "kernel_distance_deviation": deviation,
            "precision": precision,
            "recall": recall,
        }
    )
    assert all(isinstance(score, float) for score in scores.values())


@backend_free
def test_images_and_networks_that_are_none(rng):
    images = rng.random((10, 8, 8, 1))

    def flat(batch):
        return batch.reshape(len(batch), -1)

    for network, given, text in [
        (flat, images[0], r"`images` must be an array of shape \(n, height"),
        (flat, images[:0], r"n >= 1. Received: shape \(0, 8, 8, 1\)"),
        (flat, (images * 255).astype("uint8"), "Divide 8-bit pixels by 255. Received: type uint8"),
        (lambda batch: batch, images, r"`network\(images\)` must be features of shape \(n, dim\)"),
        (lambda batch: flat(batch)[:3], images, r"for 10 images. Received: shape \(3, 64\)"),
        (None, images, "`network` must be a Keras model or a function of images. Received: None"),
    ]:
        with pytest.raises(ValueError, match=text):
            image_features(network, given)
    with pytest.raises(ValueError, match="images of the same shape"):
        compare_images(flat, images, images[:, :4])
