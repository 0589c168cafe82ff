"""Tests of VAE against closed forms of its loss terms."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_vq


def build(**arguments):
    keras.utils.set_random_seed(3)
    encoder, decoder = keras_vq.networks.dense(
        (8, 8, 1), units=(16,), latent_dim=None, output_activation="sigmoid"
    )
    model = keras_vq.VAE(encoder, decoder, **{"latent_dim": 3, **arguments})
    model.compile(keras.optimizers.Adam(1e-3))
    return model


def set_posterior(model, mean, variance):
    """Sets the posterior of all images to one Gaussian."""
    for head, value in ((model.mean, mean), (model.log_variance, np.log(variance))):
        head.kernel.assign(np.zeros(head.kernel.shape))
        head.bias.assign(np.array(value, "float32"))


def number(tensor):
    return float(ops.convert_to_numpy(tensor))


MEAN, VARIANCE = np.array([0.0, 1.5, -2.0]), np.array([1.0, 0.25, 3.0])
# KL(N(m, v) || N(0, 1)) = (m² + v - 1 - log v) / 2 for each latent.
KL = np.array([0.0, (2.25 + 0.25 - 1 + np.log(4)) / 2, (4.0 + 3.0 - 1 - np.log(3)) / 2])


@pytest.fixture(scope="module")
def logs(images):
    """Returns a model with a narrow posterior and its logs, which are nearly deterministic."""
    model = build(beta=2.5)
    set_posterior(model, MEAN, [1e-12] * 3)
    return model, model.evaluate(images, verbose=0, return_dict=True)


def test_terms_are_those_of_the_evidence_lower_bound(logs, images):
    model, logs = logs
    x = images.astype("float64")
    p = np.clip(model.reconstruct(images).astype("float64"), 1e-7, 1 - 1e-7)
    likelihood = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=(1, 2, 3)).mean()
    kl = 0.5 * (MEAN**2 + 1e-12 - 1 - np.log(1e-12)).sum()
    assert logs["reconstruction_loss"] == pytest.approx(-likelihood, rel=1e-5)
    assert logs["kl_loss"] == pytest.approx(kl, rel=1e-5)
    assert logs["loss"] == pytest.approx(-likelihood + 2.5 * kl, rel=1e-5)


def test_kl_is_the_closed_form(images):
    model = build()
    set_posterior(model, MEAN, VARIANCE)
    outputs = model(images)
    assert number(model._loss_terms(outputs)["kl_loss"]) == pytest.approx(KL.sum(), rel=1e-5)
    assert number(model._latent_loss(outputs)) == pytest.approx(KL.sum(), rel=1e-5)
    set_posterior(model, [0, 0, 0], [1, 1, 1])
    assert number(model._loss_terms(model(images))["kl_loss"]) == pytest.approx(0, abs=1e-5)


def test_kl_of_a_map_of_latents_sums_over_positions(images):
    encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(8,), latent_dim=None)
    model = keras_vq.VAE(encoder, decoder, latent_dim=4)
    set_posterior(model, [1.0, 0, 0, 0], [1, 1, 1, 1])
    # A mean of 1 gives 0.5 nats at each of 4 x 4 positions.
    assert number(model._latent_loss(model(images[:8]))) == pytest.approx(8.0, rel=1e-5)
    assert model.generate(2, seed=0).shape == (2, 8, 8, 1)


def test_free_bits_leave_small_divergences_uncounted(images):
    model = build(free_bits=1.2, beta=2.0)
    set_posterior(model, MEAN, VARIANCE)
    outputs = model(images)
    assert KL[0] < 1.2 < min(KL[1], KL[2])
    expected = 2.0 * (1.2 + KL[1] + KL[2])
    assert number(model._latent_loss(outputs)) == pytest.approx(expected, rel=1e-5)
    # The log is the divergence without free bits.
    assert number(model._loss_terms(outputs)["kl_loss"]) == pytest.approx(KL.sum(), rel=1e-5)


def test_free_bits_are_of_the_batch_mean(images):
    # 2 nats per latent for half of the batch, 0 for the other: 1 nat on average.
    model = build(free_bits=0.9)
    mean = np.zeros((4, 3), "float32")
    mean[:2] = 2.0
    outputs = {
        "mean": ops.convert_to_tensor(mean),
        "log_variance": ops.zeros((4, 3)),
    }
    assert number(model._latent_loss(outputs)) == pytest.approx(3.0, rel=1e-5)


def test_free_bits_stop_the_gradient(images):
    # With zero sample weights, only the KL divergence has a gradient.
    for free_bits, moves in ((100.0, False), (0.0, True)):
        model = build(free_bits=free_bits)
        set_posterior(model, MEAN, VARIANCE)
        model.compile("sgd")
        model.train_on_batch(images[:32], sample_weight=np.zeros(32))
        moved = ops.convert_to_numpy(model.mean.bias) - MEAN
        # Learning rate times the derivative of m² / 2.
        np.testing.assert_allclose(moved, -0.01 * MEAN if moves else 0 * MEAN, atol=1e-6)


def test_warm_up_raises_the_weight_by_steps(images):
    model = build(kl_warmup_steps=4, beta=3.0)
    weights = []
    for _ in range(6):
        model.reset_metrics()
        logs = model.train_on_batch(images[:32], return_dict=True)
        weights.append((logs["loss"] - logs["reconstruction_loss"]) / logs["kl_loss"])
    np.testing.assert_allclose(weights, [0.75, 1.5, 2.25, 3.0, 3.0, 3.0], rtol=2e-3)
    # Evaluation uses the weight of the last step and does not advance the warmup.
    again = build(kl_warmup_steps=4, beta=3.0)
    again.fit(images[:64], batch_size=32, verbose=0)
    for _ in range(2):
        logs = again.evaluate(images[:64], verbose=0, return_dict=True)
        weight = (logs["loss"] - logs["reconstruction_loss"]) / logs["kl_loss"]
        assert weight == pytest.approx(1.5, rel=2e-3)


def test_warm_up_goes_on_after_loading(images, tmp_path):
    model = build(kl_warmup_steps=4)
    model.fit(images[:64], batch_size=32, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras_vq.load_model(tmp_path / "model.keras")
    assert float(again.kl_weight()) == pytest.approx(0.5)


def test_samples_have_the_mean_and_variance_of_the_posterior():
    model = build()
    set_posterior(model, MEAN, VARIANCE)
    n = 20_000
    latents = ops.convert_to_numpy(model(np.zeros((n, 8, 8, 1), "float32"))["latents"])
    # Tolerance: five standard errors; that of a variance is v √(2/n).
    assert (np.abs(latents.mean(axis=0) - MEAN) < 5 * np.sqrt(VARIANCE / n)).all()
    assert (np.abs(latents.var(axis=0) - VARIANCE) < 5 * VARIANCE * np.sqrt(2 / n)).all()
    covariance = np.cov(latents.T / np.sqrt(VARIANCE)[:, None])
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 5 / np.sqrt(n)


def test_decoder_of_another_dimension():
    encoder, decoder = keras_vq.networks.dense((8, 8, 1), units=(16,), latent_dim=4)
    with pytest.raises(ValueError, match=r"\(n, 4\) of the decoder inputs.*Received.*3\)"):
        keras_vq.VAE(encoder, decoder, latent_dim=3)


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("pair", "features", "positions"),
    [
        (lambda **o: keras_vq.networks.dense((8, 8, 1), units=(16,), **o), 16, 1),
        (lambda **o: keras_vq.networks.convolutional((8, 8, 1), filters=(8,), **o), 8, 16),
        (lambda **o: keras_vq.networks.residual_convolutional((8, 8, 1), (8,), **o), 8, 16),
        (lambda **o: keras_vq.networks.convolutional_sequence((8, 1), filters=(8,), **o), 8, 4),
        (lambda **o: keras_vq.networks.recurrent_sequence((8, 1), units=8, patch=2, **o), 16, 4),
        (lambda **o: keras_vq.networks.recurrent_sequence((8, 1), 8, whole=True, **o), 16, 1),
        (
            lambda **o: keras_vq.networks.transformer_sequence(
                (8, 1), hidden_dim=8, num_layers=1, **o
            ),
            8,
            8,
        ),
    ],
    ids=["dense", "conv", "residual", "sequence", "recurrent", "whole", "transformer"],
)
def test_latents_are_projected_once(pair, features, positions):
    encoder, decoder = pair(latent_dim=None, output_activation="sigmoid")
    model = keras_vq.VAE(encoder, decoder, latent_dim=3)
    assert encoder.output_shape[-1] == features
    assert np.prod(model.latent_shape) == 3 * positions
    # Only the two heads are between features and latents.
    given = pair(latent_dim=3, output_activation="sigmoid")
    heads = 2 * (features * 3 + 3)
    assert given.encoder.count_params() - encoder.count_params() == heads // 2
    assert model.count_params() == (
        encoder.count_params() + heads + given.decoder.count_params() + 1  # and `steps`
    )
    assert model.generate(2, seed=0).shape == (2, *encoder.input_shape[1:])


@pytest.mark.backend_free
@pytest.mark.parametrize(
    "build_networks", [keras_vq.networks.dense, keras_vq.networks.convolutional]
)
def test_encoder_that_projects_to_the_latents_raises_a_warning(build_networks, images):
    networks = build_networks((8, 8, 1), latent_dim=4, output_activation="sigmoid")
    model = keras_vq.VAE(*networks, latent_dim=4)
    model.compile("adam")
    with pytest.warns(UserWarning, match="Build the networks with `latent_dim=None`"):
        model.fit(images[:8], verbose=0)


def test_every_call_draws_anew_and_a_seed_draws_the_same(images):
    first, second = build(seed=11), build(seed=11)
    draws = [ops.convert_to_numpy(model(images)["latents"]) for model in (first, first, second)]
    assert (draws[0] != draws[1]).all()
    np.testing.assert_array_equal(draws[0], draws[2])
    other = ops.convert_to_numpy(build(seed=12)(images)["latents"])
    assert (draws[0] != other).all()
    # Also in compiled inference.
    predictions = [first.predict(images, verbose=0)["latents"] for _ in range(2)]
    assert (predictions[0] != predictions[1]).all()


def test_encode_gives_means(images):
    model = build()
    np.testing.assert_allclose(
        model.encode(images), ops.convert_to_numpy(model(images)["mean"]), atol=1e-6
    )


class Identity(keras.Layer):
    """Decoder that returns the latents."""

    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, latents):
        return latents


def test_generate_decodes_draws_of_the_prior():
    encoder = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten()])
    model = keras_vq.VAE(encoder, Identity(), latent_dim=3)
    latents = model.generate(20_000, seed=0)
    n = len(latents)
    assert np.abs(latents.mean(axis=0)).max() < 5 / np.sqrt(n)
    assert np.abs(latents.var(axis=0) - 1).max() < 5 * np.sqrt(2 / n)
    # The fourth moment is 3; the variance of z⁴ is 96.
    assert np.abs((latents**4).mean(axis=0) - 3).max() < 5 * np.sqrt(96 / n)
    assert np.abs(np.corrcoef(latents.T) - np.eye(3)).max() < 5 / np.sqrt(n)


def test_generate_is_of_the_seed(fitted, images):
    if fitted.case.id != "vae":
        pytest.skip("a VAE's")
    model = fitted.model
    first = model.generate(6, seed=1)
    np.testing.assert_array_equal(first, model.generate(6, seed=1))
    # The batch size changes images only by rounding.
    np.testing.assert_allclose(first, model.generate(6, seed=1, batch_size=4), atol=1e-6)
    assert np.abs(first - model.generate(6, seed=2)).max() > 0.01
    assert np.abs(model.generate(6) - model.generate(6)).max() > 0.01
    assert first.min() >= 0
    assert first.max() <= 1
    assert first.shape == (6, 8, 8, 1)


def test_traversal_moves_one_latent_at_a_time(images):
    encoder = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten()])
    model = keras_vq.VAE(encoder, Identity(), latent_dim=3)
    # From the prior mean; the images are the latents.
    values = np.linspace(-3, 3, 8)
    rows = model.traverse()
    assert rows.shape == (3, 8, 3)
    np.testing.assert_allclose(rows, np.eye(3)[:, None] * values[:, None], atol=1e-6)
    # From given latents.
    rows = model.traverse([5.0, 6.0, 7.0], dimensions=[2, 0], values=[-1, 0, 2], batch_size=4)
    expected = [[[5, 6, -1], [5, 6, 0], [5, 6, 2]], [[-1, 6, 7], [0, 6, 7], [2, 6, 7]]]
    np.testing.assert_allclose(rows, expected, atol=1e-6)

    encoder = keras.Sequential([keras.Input((2, 2, 1)), layers.Activation("linear")])
    maps = keras_vq.VAE(encoder, Identity(), latent_dim=2)
    rows = maps.traverse(np.zeros((2, 2, 2)), dimensions=[3], values=[4])
    assert rows.shape == (1, 1, 2, 2, 2)
    np.testing.assert_allclose(rows[0, 0].ravel(), 4 * np.eye(8)[3], atol=1e-6)

    latents = model.encode(images[:1])
    for arguments, text in [
        ({"latents": latents}, r"the shape \(3,\) of .* `encode\(inputs\)\[0\]`.*shape \(1, 3\)"),
        ({"dimensions": [3]}, r"integers from 0 to 2\. Received: \[3\]"),
        ({"dimensions": [-1]}, "`dimensions` must be"),
        ({"dimensions": []}, "`dimensions` must be"),
        ({"dimensions": [0.5]}, "`dimensions` must be"),
        ({"values": [np.nan]}, "`values` must be a list of finite numbers"),
        ({"values": 3.0}, "`values` must be"),
    ]:
        with pytest.raises(ValueError, match=text):
            model.traverse(**arguments)


def test_bad_arguments():
    for arguments, text in [
        ({"latent_dim": 0}, "`latent_dim` must be a positive integer. Received: 0"),
        ({"latent_dim": 2.5}, "`latent_dim` must be a positive integer"),
        ({"beta": -1.0}, "`beta` must be a finite non-negative number. Received: -1.0"),
        ({"beta": float("nan")}, "`beta` must be a finite non-negative number"),
        ({"free_bits": -0.1}, "`free_bits` must be a finite non-negative number"),
        ({"kl_warmup_steps": -1}, "`kl_warmup_steps` must be"),
        ({"kl_warmup_steps": 2.5}, "`kl_warmup_steps` must be"),
    ]:
        with pytest.raises(ValueError, match=text):
            build(**arguments)


def test_generate_of_an_unbuilt_model():
    encoder = keras.Sequential([layers.Flatten(), layers.Dense(4)])
    decoder = keras.Sequential([layers.Dense(64), layers.Reshape((8, 8, 1))])
    model = keras_vq.VAE(encoder, decoder, latent_dim=2)
    with pytest.raises(ValueError, match="Fit the model, or call it on a batch"):
        model.generate(3)
    with pytest.raises(ValueError, match="`n` must be a positive integer"):
        build().generate(0)


MEANS = ["mse", "binary_crossentropy", keras.losses.MeanAbsoluteError(), keras.losses.huber]


def sum_of_squares(y_true, y_pred):
    return ops.sum(ops.square(y_true - y_pred), axis=(1, 2, 3))


@pytest.mark.backend_free
@pytest.mark.parametrize("loss", MEANS, ids=["name", "name_of_probabilities", "object", "function"])
def test_mean_loss_and_unscaled_beta_give_a_warning(loss, images):
    model = build()
    model.compile(keras.optimizers.SGD(0.0), loss=loss)
    model.run_eagerly = True
    # An unscaled beta is 64 times too large.
    with pytest.warns(keras_vq.models.PosteriorCollapseWarning, match="64 values.*about 0.016"):
        model._prepare_fit(images, None)
    # No warning with a scaled beta; pytest turns warnings into errors.
    model.beta = 2 / 64
    model._prepare_fit(images, None)


@pytest.mark.backend_free
@pytest.mark.parametrize(
    "loss",
    [
        None,
        keras_vq.losses.BernoulliNegativeLogLikelihood(),
        keras.losses.MeanSquaredError(reduction="sum"),
        sum_of_squares,
    ],
    ids=["default", "bernoulli", "summed", "function"],
)
def test_losses_that_sum_over_an_image_give_no_warning(loss, images):
    model = build()
    model.compile(keras.optimizers.SGD(0.0), loss=loss)
    model._prepare_fit(images, None)


def test_fit_warns_of_a_mean_loss_in_the_line_of_the_caller(images):
    model = build()
    model.compile(keras.optimizers.SGD(0.0), loss="mse")
    kind = keras_vq.models.PosteriorCollapseWarning
    with pytest.warns(kind) as caught:
        model.fit(images[:32], verbose=0)
    assert [one.filename for one in caught if one.category is kind] == [__file__]
