"""Tests of anomaly scores and thresholds."""

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq import AnomalyDetector


def stripes(n, axis, seed):
    """Returns images with one bright row (axis 1) or column (axis 2)."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0.0, 0.1, (n, 8, 8, 1)).astype("float32")
    where = rng.integers(8, size=n)
    for image, place in zip(images, where, strict=True):
        image[(place,) if axis == 1 else (slice(None), place)] += 0.9
    return images


TRAIN, NORMAL, OTHER = stripes(256, 1, 0), stripes(64, 1, 1), stripes(64, 2, 2)


def fitted(kind):
    keras.utils.set_random_seed(0)
    options = {"latent_dim": None, "output_activation": "sigmoid"} if kind == "vae" else {}
    networks = keras_vq.networks.dense((8, 8, 1), units=(32,), **{"latent_dim": 8, **options})
    if kind == "vae":
        model = keras_vq.VAE(*networks, latent_dim=8)
    elif kind == "vqvae":
        encoder, decoder = networks
        parts = [keras_vq.VectorQuantizer(16), keras_vq.VectorQuantizer(16)]
        model = keras_vq.VQVAE(encoder, keras_vq.ProductQuantizer(parts), decoder)
    else:
        model = keras_vq.Autoencoder(*networks)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(TRAIN, batch_size=32, epochs=10, verbose=0)
    return model


class Frequencies:
    """Prior of independent codes, by their frequencies in the training data."""

    def __init__(self, codes):
        self.log_p = [np.log((np.bincount(c, minlength=16) + 1) / (len(c) + 16)) for c in codes.T]

    def log_likelihood(self, codes):
        return sum(log_p[c] for log_p, c in zip(self.log_p, codes.T, strict=True))


@pytest.mark.parametrize(
    ("kind", "score"),
    [("autoencoder", "reconstruction"), ("vae", "likelihood"), ("vqvae", "codes")],
)
def test_other_images_score_higher(kind, score):
    model = fitted(kind)
    prior = Frequencies(model.encode(TRAIN)) if score == "codes" else None
    detector = AnomalyDetector(model, score, prior)
    normal, other = detector.score(NORMAL), detector.score(OTHER)
    assert (normal[:, None] < other).mean() > (0.6 if score == "codes" else 0.95)
    # Each score by its definition.
    if score == "reconstruction":
        expected = ((NORMAL - model.reconstruct(NORMAL)) ** 2).mean(axis=(1, 2, 3))
    elif score == "likelihood":
        expected = -model.elbo(NORMAL, samples=16, seed=0)
    else:
        expected = -prior.log_likelihood(model.encode(NORMAL))
    np.testing.assert_allclose(normal, expected, rtol=1e-5)
    # Data sets, and no inputs.
    if score != "likelihood":
        batches = (NORMAL[start : start + 10] for start in range(0, 64, 10))
        np.testing.assert_allclose(detector.score(batches), normal, rtol=1e-4)
        assert detector.score(NORMAL[:0]).shape == (0,)
    assert detector.fit(NORMAL, quantile=0.9) is detector
    assert detector.threshold == pytest.approx(np.quantile(normal, 0.9))
    np.testing.assert_array_equal(detector.predict(NORMAL), normal > detector.threshold)


def test_wrong_arguments():
    networks = keras_vq.networks.dense((8, 8, 1), units=(8,), latent_dim=4)
    model = keras_vq.Autoencoder(*networks)
    for arguments, message in (
        ({"model": keras.Sequential()}, "`model` must be a model of `keras_vq`"),
        ({"score": "error"}, "`score` must be"),
        ({"score": "likelihood"}, "requires a VAE or an IWAE"),
        ({"score": "codes"}, "`prior` is required"),
        ({"prior": Frequencies(np.zeros((1, 1), int))}, "is not accepted for other scores"),
        ({"score": "codes", "prior": 3}, "`prior` must have a method"),
        ({"threshold": np.nan}, "`threshold` must be"),
    ):
        with pytest.raises(ValueError, match=message):
            AnomalyDetector(**{"model": model, **arguments})
    detector = AnomalyDetector(model)
    with pytest.raises(ValueError, match="has no threshold"):
        detector.predict(NORMAL)
    with pytest.raises(ValueError, match="`quantile` must be in"):
        detector.fit(NORMAL, quantile=1.5)
    with pytest.raises(ValueError, match="`inputs` must be an array"):
        detector.fit(NORMAL[:0])
