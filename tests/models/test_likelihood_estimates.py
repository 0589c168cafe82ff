"""Tests of likelihood estimates, learned variances and IWAE against closed forms."""

import keras
import numpy as np
import pytest
import scipy.stats
from keras import layers, ops

import keras_vq
from keras_vq.losses import (
    CategoricalNegativeLogLikelihood,
    DiscretizedLogisticNegativeLogLikelihood,
    GaussianNegativeLogLikelihood,
)

DIM, SIGMA = 5, 0.4
W = np.array([[1.0, -0.5, 0.3, 0.0, 0.8], [0.2, 0.9, -0.4, 0.6, 0.0]])
B = np.linspace(-0.5, 0.5, DIM)
# p(x) of the linear Gaussian model x = zW + b + σε is N(b, WᵀW + σ²I) ...
MARGINAL = scipy.stats.multivariate_normal(B, W.T @ W + SIGMA**2 * np.eye(DIM))
# ... and its exact posterior N((x - b) Wᵀ M⁻¹, σ² M⁻¹) with M = WWᵀ + σ²I.
M = W @ W.T + SIGMA**2 * np.eye(2)
GAIN = W.T @ np.linalg.inv(M)
POSTERIOR_VARIANCE = SIGMA**2 * np.diag(np.linalg.inv(M))


def linear(cls=keras_vq.VAE, **arguments):
    """Returns a linear Gaussian VAE whose diagonal posterior has the exact mean."""
    encoder = keras.Sequential([keras.Input((DIM,)), layers.Dense(2, activation="linear")])
    encoder.add(layers.Activation("linear"))
    decoder = keras.Sequential([keras.Input((2,)), layers.Dense(DIM)])
    model = cls(
        encoder,
        decoder,
        latent_dim=2,
        likelihood=GaussianNegativeLogLikelihood(sigma=SIGMA),
        seed=0,
        **arguments,
    )
    encoder.layers[0].set_weights([GAIN, -B @ GAIN])
    decoder.layers[0].set_weights([W, B])
    model.mean.set_weights([np.eye(2), np.zeros(2)])
    model.log_variance.set_weights([np.zeros((2, 2)), np.log(POSTERIOR_VARIANCE)])
    return model


@pytest.fixture(scope="module")
def table():
    return MARGINAL.rvs(7, random_state=0).astype("float32")


def exact_elbo(x):
    """Computes the ELBO of the linear model in closed form."""
    mean = (x - B) @ GAIN
    error = ((x - B - mean @ W) ** 2).sum(axis=1) + (W**2).sum(axis=1) @ POSTERIOR_VARIANCE
    log_p = -0.5 * (error / SIGMA**2 + DIM * np.log(2 * np.pi * SIGMA**2))
    v = POSTERIOR_VARIANCE
    return log_p - 0.5 * ((mean**2).sum(axis=1) + (v - 1 - np.log(v)).sum())


def test_importance_weighting_gives_the_exact_marginal(table):
    model, exact = linear(), MARGINAL.logpdf(table)
    found = [model.log_likelihood(table, samples=2000, seed=seed) for seed in range(5)]
    assert found[0].shape == (7,)
    error = np.mean(found, axis=0) - exact
    interval = 5 * np.std(found, axis=0, ddof=1) / np.sqrt(5)
    assert (np.abs(error) < interval + 1e-4).all()
    assert np.abs(error).max() < 0.02


def test_elbo_is_the_closed_form(table):
    model, exact = linear(), exact_elbo(table)
    found = [model.elbo(table, samples=2000, seed=seed) for seed in range(5)]
    interval = 5 * np.std(found, axis=0, ddof=1) / np.sqrt(5)
    assert (np.abs(np.mean(found, axis=0) - exact) < interval).all()
    assert (exact < MARGINAL.logpdf(table)).all()


def test_estimates_do_not_depend_on_batches(table):
    model = linear()
    whole = model.log_likelihood(table, samples=10, seed=3)
    for batch_size in (4, 25):
        found = model.log_likelihood(table, samples=10, seed=3, batch_size=batch_size)
        np.testing.assert_allclose(found, whole, rtol=1e-5)
    batches = [table[:4], table[4:]]
    found = model.log_likelihood(iter(batches), samples=10, seed=3, batch_size=25)
    np.testing.assert_allclose(found, whole, rtol=1e-5)


def test_iwae_trains_on_the_importance_weighted_bound(table):
    model = linear(keras_vq.IWAE, num_samples=4)
    model.compile(keras.optimizers.SGD(0.0))
    outputs = {name: ops.convert_to_numpy(value) for name, value in model(table).items()}
    z, mean = outputs["latents"].astype("float64"), outputs["mean"].astype("float64")
    assert z.shape == (7, 4, 2)
    log_p = scipy.stats.norm(z @ W + B, SIGMA).logpdf(table[:, None]).sum(axis=2)
    log_prior = scipy.stats.norm(0, 1).logpdf(z).sum(axis=2)
    log_q = scipy.stats.norm(mean[:, None], np.sqrt(POSTERIOR_VARIANCE)).logpdf(z).sum(axis=2)
    weights = log_p + log_prior - log_q
    bound = np.logaddexp.reduce(weights, axis=1) - np.log(4)
    tensors = {name: ops.convert_to_tensor(value) for name, value in outputs.items()}
    x = ops.convert_to_tensor(table)
    assert float(model.compute_loss(x, None, tensors)) == pytest.approx(-bound.mean(), rel=1e-5)
    sample_weight = np.linspace(0.0, 2.0, 7).astype("float32")
    loss = model.compute_loss(x, None, tensors, ops.convert_to_tensor(sample_weight))
    assert float(loss) == pytest.approx(-(sample_weight * bound).mean(), rel=1e-5)


def test_bound_of_iwae_is_tighter(table):
    losses = {}
    for num_samples in (1, 50):
        model = linear(keras_vq.IWAE, num_samples=num_samples)
        model.compile("sgd")
        rows = np.tile(table, (300, 1))
        logs = model.evaluate(rows, verbose=0, return_dict=True)
        assert logs["loss"] <= logs["reconstruction_loss"] + logs["kl_loss"] + 0.05
        losses[num_samples] = logs["loss"]
    exact = -MARGINAL.logpdf(table).mean()
    assert exact - 0.02 < losses[50] < losses[1] - 0.02
    assert losses[1] == pytest.approx(-exact_elbo(table).mean(), abs=0.1)


def test_iwae_rejects_a_loss(table):
    model = linear(keras_vq.IWAE)
    model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match="IWAE must be compiled without a loss"):
        model.fit(table, verbose=0)


def test_learned_variance_recovers_the_noise():
    rng = np.random.default_rng(0)
    sigma = np.array([0.05, 0.4])
    z = rng.normal(size=(2000, 1, 1))
    x = (z * [[0.0, 1.0]] + sigma * rng.normal(size=(2000, 6, 2))).astype("float32")
    for per_channel, expected in ((True, sigma), (False, np.sqrt((sigma**2).mean()))):
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential(
            [keras.Input((6, 2)), layers.Flatten(), layers.Dense(8, activation="tanh")]
        )
        decoder = keras.Sequential(
            [
                keras.Input((1,)),
                layers.Dense(12),
                layers.Reshape((6, 2)),
                keras_vq.layers.LogScale(per_channel=per_channel),
            ]
        )
        model = keras_vq.VAE(encoder, decoder, 1, likelihood="gaussian_negative_log_likelihood")
        assert model.reconstruction_shape == (6, 2)
        model.compile(keras.optimizers.Adam(0.02))
        model.fit(x, epochs=15, batch_size=100, verbose=0)
        found = np.exp(ops.convert_to_numpy(decoder.layers[-1].log_scale)) + 1e-3
        np.testing.assert_allclose(found, expected, rtol=0.1)
        assert model.reconstruct(x[:3]).shape == (3, 6, 2)


@pytest.mark.parametrize(
    "likelihood",
    [DiscretizedLogisticNegativeLogLikelihood(), CategoricalNegativeLogLikelihood()],
    ids=["logistic", "categorical"],
)
def test_models_of_8_bit_pixels(likelihood, images, tmp_path):
    keras.utils.set_random_seed(0)
    pixels = (np.rint(images[:16] * 255) / 255).astype("float32")
    encoder, _ = keras_vq.networks.dense((8, 8, 1), units=(16,), latent_dim=None)
    channels = likelihood.parameters_per_value
    _, decoder = keras_vq.networks.dense(
        (8, 8, channels), units=(16,), latent_dim=None, output_activation=None
    )
    model = keras_vq.VAE(encoder, decoder, latent_dim=2, likelihood=likelihood)
    model.compile(keras.optimizers.Adam(1e-2))
    history = model.fit(pixels, epochs=4, batch_size=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    bits = model.bits_per_dimension(pixels, samples=5, seed=0)
    nats = model.log_likelihood(pixels, samples=5, seed=0)
    assert bits == pytest.approx(-nats.mean() / np.log(2) / 64)
    made = model.reconstruct(pixels)
    assert made.shape == pixels.shape
    assert 0 <= made.min() <= made.max() <= 1
    assert model.generate(3, seed=0).shape == (3, 8, 8, 1)
    model.save(tmp_path / "vae.keras")
    again = keras_vq.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(again.reconstruct(pixels), made)
    with pytest.raises(ValueError, match=r"must have values in \[0, 1\]"):
        model.fit(pixels * 255, verbose=0)


def test_bits_of_a_density(table):
    with pytest.raises(ValueError, match="Bits per dimension require a likelihood of discrete"):
        linear().bits_per_dimension(table)


def test_likelihood_that_does_not_fit():
    encoder, decoder = keras_vq.networks.dense((8, 8, 3), units=(16,), latent_dim=None)
    with pytest.raises(ValueError, match="must return 2 numbers for each value"):
        keras_vq.VAE(encoder, decoder, 2, likelihood=GaussianNegativeLogLikelihood())
    with pytest.raises(ValueError, match=r"`likelihood` must be a `keras_vq\.losses\.Negative"):
        keras_vq.VAE(encoder, decoder, 2, likelihood=keras.losses.MeanSquaredError())


def test_adapt_scales_latents_and_nothing_else(table, tmp_path):
    model = linear()
    rows = np.tile(table, (40, 1))
    before = model.generate(4, seed=2), model.reconstruct(table), model.traverse()
    raw = model.sample_latents(rows, seed=0)
    model.adapt(rows)
    scaled = model.sample_latents(rows, seed=0)
    np.testing.assert_allclose((scaled.mean(), scaled.std()), (0, 1), atol=1e-5)
    np.testing.assert_allclose(scaled, (raw - raw.mean()) / raw.std(), rtol=1e-3, atol=1e-4)
    after = model.generate(4, seed=2), model.reconstruct(table), model.traverse()
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "vae.keras")
    again = keras_vq.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(again.encode(table), model.encode(table))
    constant = np.tile(table[:1], (4, 1))
    model.log_variance.set_weights([np.zeros((2, 2)), np.full(2, -np.inf)])
    model.mean.set_weights([np.zeros((2, 2)), np.zeros(2)])
    scale = model.latent_scale
    with pytest.raises(ValueError, match="The latents of `inputs` must differ"):
        model.adapt(constant)
    assert model.latent_scale == scale
