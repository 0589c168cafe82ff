"""Tests of GaussianMixturePrior against the mixture of its data, and with models."""

import keras
import numpy as np
import pytest
import scipy.stats
from keras import layers

import keras_vq
from keras_vq.priors import GaussianMixturePrior

backend_free = pytest.mark.backend_free

WEIGHTS = np.array([0.25, 0.75])
MEANS = np.array([[4.0, 0.0, 1.0], [-4.0, 2.0, 0.0]])
ROOTS = np.array([np.diag([1.0, 0.5, 2.0]), [[0.5, 0, 0], [0.4, 0.3, 0], [0, 0, 1.0]]])
COVARIANCES = ROOTS @ ROOTS.transpose(0, 2, 1)


@pytest.fixture(scope="module")
def latents():
    rng = np.random.default_rng(0)
    chosen = rng.choice(2, size=20_000, p=WEIGHTS)
    noise = rng.standard_normal((20_000, 3))
    return (MEANS[chosen] + np.einsum("nij,nj->ni", ROOTS[chosen], noise)).astype("float32")


def exact():
    """Returns a prior with the parameters of the mixture above."""
    prior = GaussianMixturePrior(2)
    prior.mixture_weights, prior.means, prior.covariances = WEIGHTS, MEANS, COVARIANCES
    prior.latent_shape = (3,)
    return prior


@backend_free
def test_fit_finds_the_mixture(latents):
    prior = GaussianMixturePrior(2, seed=0)
    prior.fit(latents)
    order = np.argsort(prior.mixture_weights)
    np.testing.assert_allclose(prior.mixture_weights[order], WEIGHTS, atol=0.02)
    np.testing.assert_allclose(prior.means[order], MEANS, atol=0.1)
    np.testing.assert_allclose(prior.covariances[order], COVARIANCES, atol=0.15)
    again = GaussianMixturePrior(2, seed=0)
    again.fit(latents)
    np.testing.assert_array_equal(again.means, prior.means)


@backend_free
@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_draws_have_the_moments_of_the_mixture(temperature):
    latents = exact().generate(20_000, temperature, seed=0).astype("float64")
    mean = WEIGHTS @ MEANS
    within = temperature**2 * np.einsum("k,kij->ij", WEIGHTS, COVARIANCES)
    between = np.einsum("k,ki,kj->ij", WEIGHTS, MEANS - mean, MEANS - mean)
    covariance = within + between
    deviations = np.sqrt(np.diag(covariance))
    assert (np.abs(latents.mean(axis=0) - mean) < 5 * deviations / np.sqrt(20_000)).all()
    np.testing.assert_allclose(np.cov(latents.T), covariance, atol=0.03 * deviations.max() ** 2)
    # Samples of one component, which is far from the others.
    own = latents[latents[:, 0] < 0]
    assert len(own) == pytest.approx(15_000, rel=0.03)
    np.testing.assert_allclose(np.cov(own.T), temperature**2 * COVARIANCES[1], atol=0.05)


@backend_free
def test_draws_are_of_the_seed():
    prior = exact()
    np.testing.assert_array_equal(prior.generate(5, seed=1), prior.generate(5, seed=1))
    assert np.abs(prior.generate(5, seed=1) - prior.generate(5, seed=2)).max() > 0.1
    assert np.abs(prior.generate(5) - prior.generate(5)).max() > 0.1
    assert prior.generate(5).dtype == "float32"


def test_saved_prior_is_the_same(latents, tmp_path):
    prior = GaussianMixturePrior(3, seed=7)
    prior.fit(latents[:600].reshape(300, 2, 3))
    prior.save(tmp_path / "prior.keras")
    again = keras_vq.load_model(tmp_path / "prior.keras")
    assert again.get_config() == prior.get_config()
    assert (again.n_components, again.seed, again.latent_shape) == (3, 7, (2, 3))
    for name in ("mixture_weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(again, name), getattr(prior, name))
    np.testing.assert_array_equal(again.generate(9, seed=0), prior.generate(9, seed=0))


def test_call_is_the_log_density(latents):
    densities = scipy.stats.multivariate_normal
    expected = sum(
        weight * densities(mean, covariance).pdf(latents[:50])
        for weight, mean, covariance in zip(WEIGHTS, MEANS, COVARIANCES, strict=True)
    )
    found = keras.ops.convert_to_numpy(exact()(latents[:50]))
    np.testing.assert_allclose(found, np.log(expected), atol=1e-4)


def test_history_has_the_negative_log_density(latents):
    prior = GaussianMixturePrior(2, seed=0)
    history = prior.fit(latents)
    mean = -keras.ops.convert_to_numpy(prior(latents)).mean()
    assert history.history["loss"] == [pytest.approx(mean, rel=1e-4)]


@backend_free
@pytest.mark.parametrize("argument", [{"epochs": 3}, {"batch_size": 8}, {"callbacks": [1]}])
def test_arguments_without_effect(argument, latents):
    with pytest.raises(ValueError, match=f"`{next(iter(argument))}` must be .*, because"):
        GaussianMixturePrior(2).fit(latents, **argument)


@backend_free
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mixture_weights": WEIGHTS[:1]}, r"weights must be float64 of shape \(2,\)"),
        ({"means": MEANS.T}, r"means must be float64 of shape \(2, 3\).*of shape \(3, 2\)"),
        ({"means": MEANS.astype("float32")}, "not float32"),
        ({"means": MEANS.astype("complex128")}, "not complex128"),
        ({"means": MEANS * np.nan}, "means must be finite"),
        ({"covariances": COVARIANCES[0]}, r"covariances must be float64 of shape \(2, 3, 3\)"),
        ({"covariances": np.full_like(COVARIANCES, np.inf)}, "covariances must be finite"),
        ({"means": MEANS * 1e39}, "means must be .* range of float32"),
        ({"covariances": -COVARIANCES}, "covariance 0 is not positive definite"),
        ({"covariances": COVARIANCES + np.triu(np.ones((3, 3)), 1)}, "0 is not symmetric"),
        ({"mixture_weights": WEIGHTS * 0.9}, "weights must be positive and sum to 1"),
        ({"mixture_weights": np.array([1.5, -0.5])}, "weights must be positive and sum to 1"),
        ({"latent_shape": np.array([3, -1])}, r"of shape \(2, -3\)"),
    ],
)
def test_arrays_of_no_mixture(changed, message):
    arrays = {"mixture_weights": WEIGHTS, "means": MEANS, "covariances": COVARIANCES}
    arrays["latent_shape"] = np.array([3])
    prior = GaussianMixturePrior(2)
    prior.load_own_variables(arrays)
    assert prior.generate(2).shape == (2, 3)
    with pytest.raises(ValueError, match=message):
        prior.load_own_variables({**arrays, **changed})


@backend_free
def test_bad_arguments(latents, tmp_path):
    for components in (0, 2.5, True):
        with pytest.raises(ValueError, match="`n_components` must be a positive integer"):
            GaussianMixturePrior(components)
    prior = GaussianMixturePrior(4)
    for call in (lambda: prior.generate(3), lambda: prior.save(tmp_path / "a.keras")):
        with pytest.raises(ValueError, match=r"must be fitted\. Call `fit`"):
            call()
    spoilt = latents[:20].copy()
    spoilt[3] = np.inf
    for given, text in [
        (latents[:3], r"at least 4 latents for 4 components.*Received: 3 latents"),
        (latents[:, 0], r"of shape \(n, \.\.\.\).*Received: shape \(20000,\)"),
        (np.zeros((9, 3), "int32"), "real numbers.*type int32"),
        (spoilt, "`x` must be finite"),
    ]:
        with pytest.raises(ValueError, match=text):
            prior.fit(given)
    with pytest.raises(ValueError, match="`n` must be a positive integer"):
        exact().generate(0)
    with pytest.raises(ValueError, match="`temperature` must be a finite non-negative number"):
        exact().generate(3, temperature=-1.0)


# --- models


@pytest.fixture(scope="module")
def vae():
    keras.utils.set_random_seed(3)
    encoder, decoder = keras_vq.networks.dense((8, 8, 1), units=(16,), latent_dim=None)
    return keras_vq.VAE(encoder, decoder, latent_dim=3)


@pytest.fixture(scope="module")
def autoencoder():
    keras.utils.set_random_seed(3)
    return keras_vq.Autoencoder(*keras_vq.networks.dense((8, 8, 1), units=(16,), latent_dim=3))


def test_models_decode_the_draws_of_a_prior(vae, autoencoder):
    prior = exact()
    for model in (vae, autoencoder):
        images = model.generate(20, prior, temperature=0.5, seed=4)
        expected = model.decode(prior.generate(20, temperature=0.5, seed=4))
        np.testing.assert_array_equal(images, expected)
        _in_batches = model.generate(20, prior, temperature=0.5, seed=4, batch_size=8)
        np.testing.assert_allclose(_in_batches, images, atol=1e-6)
    # Without a prior, latents are standard normal.
    noise = 0.5 * np.random.default_rng(4).standard_normal((20, 3), "float32")
    images = vae.generate(20, temperature=0.5, seed=4)
    np.testing.assert_allclose(images, vae.decode(noise), atol=1e-6)


def test_latents_are_samples_of_the_posterior(vae, digits):
    weights = [vae.mean, vae.log_variance]
    before = [head.get_weights() for head in weights]
    mean, variance = np.array([0.0, 1.5, -2.0]), np.array([1.0, 0.25, 3.0])
    for head, value in zip(weights, (mean, np.log(variance)), strict=True):
        head.set_weights([np.zeros(head.kernel.shape), value])
    images = np.zeros((10_000, 8, 8, 1), "float32")
    latents = vae.sample_latents(images, seed=0, batch_size=1000)
    n = len(latents)
    assert latents.dtype == "float32"
    assert (np.abs(latents.mean(axis=0) - mean) < 5 * np.sqrt(variance / n)).all()
    assert (np.abs(latents.var(axis=0) - variance) < 5 * variance * np.sqrt(2 / n)).all()
    # A fitted mixture has this variance too; fitted to means, it would have none.
    prior = GaussianMixturePrior(1)
    prior.fit(latents)
    np.testing.assert_allclose(prior.covariances[0], np.diag(variance), atol=0.2)
    for head, value in zip(weights, before, strict=True):
        head.set_weights(value)

    # Noise around the mean of each image, equal for equal seeds.
    noise = vae.sample_latents(digits[:50], seed=1) - vae.encode(digits[:50])
    assert np.abs(noise).min(axis=1).max() > 0
    again = vae.sample_latents(digits[:50], seed=1, batch_size=20) - vae.encode(digits[:50])
    np.testing.assert_allclose(again, noise, atol=1e-6)


@backend_free
def test_priors_that_do_not_fit(vae, autoencoder):
    prior = exact()
    prior.latent_shape = (3, 1)
    for model in (vae, autoencoder):
        with pytest.raises(
            ValueError, match=r"\(n, 3\) of the decoder inputs.*Received: shape \(5, 3, 1\)"
        ):
            model.generate(5, prior)
        with pytest.raises(ValueError, match="must be fitted"):
            model.generate(5, GaussianMixturePrior())
        with pytest.raises(ValueError, match="`prior` must have a method `generate"):
            model.generate(5, "normal")
        with pytest.raises(ValueError, match="`n` must be a positive integer"):
            model.generate(0, exact())
        with pytest.raises(ValueError, match="`temperature` must be a finite non-negative number"):
            model.generate(5, exact(), temperature=float("nan"))
    with pytest.raises(ValueError, match="`prior` must have a method"):
        autoencoder.generate(5, None)
    unbuilt = keras_vq.Autoencoder(
        keras.Sequential([layers.Flatten(), layers.Dense(3)]),
        keras.Sequential([layers.Dense(64), layers.Reshape((8, 8, 1))]),
    )
    with pytest.raises(ValueError, match="Fit the model, or call it on a batch"):
        unbuilt.generate(5, exact())
