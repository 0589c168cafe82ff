"""Tests of VQVAE: codes, codebook training and data variance."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from tests.models.cases import IMAGE_SHAPE, MODEL_CASES
from tests.models.checks import assert_same, weights_of

BUILD = {case.id: case.build for case in MODEL_CASES}


def build(quantizer=None, **arguments):
    encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(8,), latent_dim=4)
    model = keras_vq.VQVAE(encoder, quantizer or keras_vq.VectorQuantizer(16), decoder, **arguments)
    model.compile(keras.optimizers.Adam(3e-3))
    return model


@pytest.fixture
def vqvae(fitted):
    if not isinstance(fitted.model, keras_vq.VQVAE) or fitted.case.input_shape != IMAGE_SHAPE:
        pytest.skip("no VQVAE of images")
    return fitted


def test_codes_decode_to_the_reconstructions(vqvae):
    model, images = vqvae.model, vqvae.held_out
    codes = model.encode(images)
    assert codes.shape == (96, 4, 4)
    assert codes.dtype == "int32"
    assert codes.min() >= 0
    assert codes.max() < 16
    np.testing.assert_array_equal(model.decode(codes), model.reconstruct(images))
    np.testing.assert_array_equal(
        model.encode(images, batch_size=80), codes, "batches change codes"
    )
    # Codes of any integer dtype, as tensors or lists.
    expected = model.decode(codes[:80])
    for given in (
        codes[:80].astype("uint8"),
        ops.convert_to_tensor(codes[:80]),
        codes[:80].tolist(),
    ):
        np.testing.assert_allclose(model.decode(given), expected, atol=1e-6)


def test_codes_are_the_nearest(vqvae):
    model = vqvae.model
    latents = ops.convert_to_numpy(model.encoder(vqvae.held_out)).astype("float64")
    codebook = ops.convert_to_numpy(model.quantizer.codebook.code_vectors()).astype("float64")
    nearest = ((latents[..., None, :] - codebook) ** 2).sum(-1).argmin(-1)
    np.testing.assert_array_equal(model.encode(vqvae.held_out), nearest)
    np.testing.assert_allclose(model.encode_quantized(vqvae.held_out), codebook[nearest], atol=1e-6)


def test_code_of_minus_one_is_a_zero_latent(vqvae):
    model = vqvae.model
    masked = model.decode(np.full((1, 4, 4), -1))
    np.testing.assert_allclose(
        masked, model.decode_quantized(np.zeros((1, 4, 4, 4), "float32")), atol=1e-6
    )


def test_interpolation_passes_through_codes(vqvae):
    model, (start, end) = vqvae.model, (vqvae.held_out[:16], vqvae.held_out[16:32])
    line = model.interpolate(start, end, steps=5)
    latents = [ops.convert_to_numpy(model.encoder(images)) for images in (start, end)]
    middle = 0.75 * latents[0] + 0.25 * latents[1]
    codebook = ops.convert_to_numpy(model.quantizer.codebook.code_vectors())
    codes = ((middle[..., None, :] - codebook) ** 2).sum(-1).argmin(-1)
    np.testing.assert_allclose(line[:, 1], model.decode(codes, batch_size=80), atol=1e-6)


@pytest.mark.parametrize("codebook", [keras_vq.EMACodebook, keras_vq.GradientCodebook])
def test_codebook_learns_in_fit(codebook, images):
    # On JAX, losses of an inner layer are empty outside its call, so it would not be trained.
    model = build(keras_vq.VectorQuantizer(codebook=codebook(16, decay=0.9, seed=5)))
    model.compile(keras.optimizers.Adam(3e-3))
    before = ops.convert_to_numpy(model.quantizer.codebook.code_vectors()).copy()
    used = np.unique(model.encode(images))
    latents = ops.convert_to_numpy(model.encoder(images)).reshape(-1, 4)
    distance = ((latents[:, None] - before) ** 2).sum(-1).min(-1).mean()
    model.encoder.trainable = False
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(images, epochs=4, batch_size=64, verbose=0)
    after = ops.convert_to_numpy(model.quantizer.codebook.code_vectors())
    moved = np.abs(after - before).max(axis=1)
    assert (moved[used] > 1e-3).any()
    # The encoder is frozen, so only the codebook can reduce the distance.
    assert ((latents[:, None] - after) ** 2).sum(-1).min(-1).mean() < 0.97 * distance


@pytest.mark.parametrize("id", ["vqvae_ema", "vqvae_gradient"])
def test_frozen_quantizer_stays(id, images):
    model = BUILD[id]()
    model.quantizer.trainable = False
    model.compile(keras.optimizers.Adam(3e-3))
    codebook, encoder = weights_of(model.quantizer), weights_of(model.encoder)
    model.fit(images, batch_size=64, verbose=0)
    assert_same(weights_of(model.quantizer), codebook)
    assert all((a != b).any() for a, b in zip(weights_of(model.encoder), encoder, strict=True))


@pytest.mark.parametrize("data_variance", [None, 0.5])
def test_variance_of_the_data(data_variance, images, tmp_path):
    model = build(data_variance=data_variance)
    assert float(model.measured_data_variance) == (data_variance or 0.0)
    targets = images[:, ::-1] * 0.7
    model.fit(images, targets, batch_size=64, verbose=0)
    expected = data_variance or targets.astype("float64").var()
    assert float(model.measured_data_variance) == pytest.approx(expected, rel=1e-5)
    # The variance is measured only once, so that losses stay comparable.
    model.fit(images[:64], targets[:64] * 0.1, verbose=0)
    assert float(model.measured_data_variance) == pytest.approx(expected, rel=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras_vq.load_model(tmp_path / "model.keras")
    assert again.data_variance == data_variance
    again._prepare_fit(images[:64], targets[:64] * 0.1)
    assert float(again.measured_data_variance) == pytest.approx(expected, rel=1e-5)


def squared_error_over(model, images, variance):
    error = images.astype("float64") - model.reconstruct(images)
    return pytest.approx((error**2).mean() / variance, rel=1e-4)


def frozen_vqvae():
    model = build(keras_vq.VectorQuantizer(codebook=keras_vq.EMACodebook(16, decay=0.0)))
    model.quantizer.trainable = False
    model.compile(keras.optimizers.SGD(0.0))
    return model


def test_a_given_variance_is_kept_by_the_first_evaluation(images):
    encoder, decoder = (keras.Sequential([keras.layers.Dense(width)]) for width in (2, 1))
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(4), decoder, data_variance=0.5)
    model.compile("adam")
    model.evaluate(images, verbose=0)
    assert float(model.measured_data_variance) == 0.5


def test_loss_has_one_scale_before_and_after_fit(images):
    model = frozen_vqvae()
    before = model.evaluate(images, verbose=0, return_dict=True)
    variance = images.astype("float64").var()
    assert before["reconstruction_loss"] == squared_error_over(model, images, variance)
    # The variance of the first data set is kept.
    model.fit(images[:64] * 0.5, batch_size=64, verbose=0)
    after = model.evaluate(images, verbose=0, return_dict=True)
    assert after == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch"])
def test_first_batch_gives_the_variance(method, images):
    model = frozen_vqvae()
    first, second = images[:64], images[64:128] * 0.5
    variance = first.astype("float64").var()
    for batch in (first, second):
        model.reset_metrics()
        logs = getattr(model, method)(batch, return_dict=True)
        assert logs["reconstruction_loss"] == squared_error_over(model, batch, variance)


def test_first_batch_gives_the_variance_in_other_loops(images):
    # For data that can be read only once, the first batch is measured.
    model = frozen_vqvae()
    batches = ((images[start : start + 64],) for start in (0, 64))
    variance = images[:64].astype("float64").var()
    logs = model.evaluate(batches, steps=2, verbose=0, return_dict=True)
    assert float(model.measured_data_variance) == pytest.approx(variance, rel=1e-5)
    assert logs["reconstruction_loss"] == squared_error_over(model, images[:128], variance)


def test_data_of_one_value_divides_by_one_and_is_not_kept(images):
    model = frozen_vqvae()
    constant = np.full_like(images[:64], 0.5)
    for _ in range(2):
        logs = model.evaluate(constant, verbose=0, return_dict=True)
        assert logs["reconstruction_loss"] == squared_error_over(model, constant, 1.0)
    assert float(model.measured_data_variance) == 0.0
    logs = model.evaluate(images, verbose=0, return_dict=True)
    variance = images.astype("float64").var()
    assert logs["reconstruction_loss"] == squared_error_over(model, images, variance)


def test_variance_of_many_rows_far_from_zero():
    # More rows than one block, and an offset that float32 can't represent.
    values = np.random.default_rng(0).normal(1000.0, 0.01, (5000, 2, 2, 1))
    measured = keras_vq.models._arrays.variance(values)
    assert measured == pytest.approx(values.var(), rel=1e-9)


def test_user_defined_loss_needs_no_variance(images):
    model = build()
    model.compile("sgd", loss="mse")
    model._prepare_fit(images, None)
    assert float(model.measured_data_variance) == 0.0


def test_adapt_puts_all_codes_to_use(images):
    model = build(keras_vq.VectorQuantizer(codebook=keras_vq.EMACodebook(16, seed=0)))
    assert len(np.unique(model.encode(images))) < 16
    latents = ops.convert_to_numpy(model.encoder(images))
    distance = ((latents - model.encode_quantized(images)) ** 2).mean()
    model.adapt(images)
    codes = model.encode(images)
    assert len(np.unique(codes)) == 16
    assert ((latents - model.encode_quantized(images)) ** 2).mean() < 0.2 * distance
    # After ten iterations, k-means centers are close to the means of their vectors.
    centers = np.stack([latents[codes == code].mean(axis=0) for code in range(16)])
    codebook = ops.convert_to_numpy(model.quantizer.codebook.code_vectors())
    assert np.abs(centers - codebook).max() < 0.1 * latents.std()

    model.adapt(images, start="first")
    np.testing.assert_allclose(
        ops.convert_to_numpy(model.quantizer.codebook.code_vectors()),
        latents.reshape(-1, 4)[:16],
        atol=1e-6,
    )


def test_restart_brings_dead_codes_to_use(images):
    model = BUILD["vqvae_ema"]()
    model.compile(keras.optimizers.Adam(3e-3))
    before = model.evaluate(images, verbose=0, return_dict=True)["codebook_usage"]
    model.fit(images, epochs=2, batch_size=64, verbose=0)
    after = model.evaluate(images, verbose=0, return_dict=True)["codebook_usage"]
    assert before < 0.7 < after


def test_bad_codes(vqvae):
    model = vqvae.model
    for codes, text in [
        (
            np.full((1, 4, 4), 16),
            r"integers from 0 to 15 \(or -1\). Received: int64 values, 16 to 16",
        ),
        (np.full((1, 4, 4), -2), "integers from 0 to 15"),
        (np.zeros((1, 4, 4), "float32"), "integers from 0 to 15.*Received: float32"),
        (np.full((1, 4, 4), True), "integers from 0 to 15.*Received: bool"),
    ]:
        with pytest.raises(ValueError, match=text):
            model.decode(codes)


def test_empty_codes_decode_to_empty_results(vqvae):
    made = vqvae.model.decode(np.zeros((0, 4, 4), "int32"))
    assert made.shape == (0, *vqvae.model.reconstruction_shape)


def built_for(dim):
    quantizer = keras_vq.VectorQuantizer(16)
    quantizer.set_embeddings(np.ones((16, dim), "float32"))
    return quantizer


def test_bad_arguments():
    for build_bad, text in [
        (
            lambda: keras_vq.VectorQuantizer(0),
            "`codebook_size` must be a positive integer",
        ),
        (
            lambda: keras_vq.VectorQuantizer(8, commitment_weight=-1),
            "`commitment_weight` must be a finite non-negative number",
        ),
        (
            lambda: build(quantizer=keras.layers.Dense(4)),
            "`quantizer` must be a keras_vq Quantizer",
        ),
        (
            lambda: build(quantizer=built_for(8)),
            r"`inputs` must have 8 channels.*Received: shape \(None, 4, 4, 4\)",
        ),
        (lambda: build(data_variance=0.0), "`data_variance` must be a finite positive number"),
        (lambda: build(data_variance=-1.0), "`data_variance` must be a finite positive number"),
    ]:
        with pytest.raises(ValueError, match=text):
            build_bad()
