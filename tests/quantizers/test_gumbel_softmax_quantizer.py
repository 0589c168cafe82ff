"""Tests of GumbelSoftmaxQuantizer (Gumbel-softmax) against its formulas in float64."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from keras_vq.quantizers.gumbel_softmax_quantizer import GumbelSoftmaxQuantizer
from tests.gradients import gradients

numpy = ops.convert_to_numpy
K, DIM = 7, 3
SEED = 5


@pytest.fixture
def parts(rng):
    """Returns inputs, kernel, bias and embeddings."""
    shapes = [(10, DIM), (DIM, K), (K,), (K, DIM)]
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def build(parts, **arguments):
    quantizer = GumbelSoftmaxQuantizer(K, seed=SEED, **arguments)
    quantizer.build((None, DIM))
    for weight, value in zip(weights_of(quantizer), parts[1:], strict=True):
        weight.assign(value)
    return quantizer


def weights_of(quantizer):
    return [quantizer.logits.kernel, quantizer.logits.bias, quantizer.embeddings]


def softmax(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def drawn(parts, temperature):
    """Computes logits, probabilities and indices of the first training call."""
    inputs, kernel, bias, _ = (part.astype("float64") for part in parts)
    uniforms = keras.random.uniform((10, K), 1e-20, seed=keras.random.SeedGenerator(SEED))
    logits = inputs @ kernel + bias
    noisy = logits - np.log(-np.log(numpy(uniforms).astype("float64")))
    return logits, softmax(noisy / temperature), noisy.argmax(-1)


def test_inference_takes_the_likeliest_code(parts):
    quantizer = build(parts)
    inputs, kernel, bias, codes = parts
    quantized, indices = quantizer(inputs)
    expected = (inputs.astype("float64") @ kernel + bias).argmax(-1)
    np.testing.assert_array_equal(numpy(indices), expected)
    np.testing.assert_array_equal(numpy(quantized), codes[expected])
    np.testing.assert_array_equal(numpy(quantizer.decode(indices)), codes[expected])
    np.testing.assert_array_equal(numpy(quantizer(inputs)[0]), numpy(quantized))


@pytest.mark.parametrize(("hard", "temperature"), [(False, 1.0), (False, 0.3), (True, 0.3)])
def test_training_draws_codes(parts, hard, temperature):
    quantizer = build(parts, temperature=temperature, hard=hard)
    quantized, indices = quantizer(parts[0], training=True)
    _, shares, expected = drawn(parts, temperature)
    np.testing.assert_array_equal(numpy(indices), expected)
    if hard:
        np.testing.assert_array_equal(numpy(quantized), parts[3][expected])
    else:
        np.testing.assert_allclose(numpy(quantized), shares @ parts[3], rtol=1e-4, atol=1e-5)
    again, _ = quantizer(parts[0], training=True)
    assert (numpy(again) != numpy(quantized)).any()
    same, _ = build(parts, temperature=temperature, hard=hard)(parts[0], training=True)
    np.testing.assert_array_equal(numpy(same), numpy(quantized))


@pytest.mark.parametrize(("hard", "masked"), [(False, True), (True, False)])
def test_loss_and_gradients(parts, rng, hard, masked):
    temperature, kl = 0.7, 0.4
    inputs, kernel, _, codes = (part.astype("float64") for part in parts)
    mask = np.arange(10) % 3 > 0 if masked else np.ones(10, bool)
    given = mask if masked else None
    shown = np.where(mask[:, None], parts[0], np.nan).astype("float32")
    upstream = rng.normal(size=(10, DIM)).astype("float32")
    logits, shares, indices = drawn(
        [np.where(mask[:, None], parts[0], 0.0), *parts[1:]], temperature
    )
    p = softmax(logits)
    divergences = np.sum(p * np.log(p * K), axis=-1)
    loss = kl * divergences[mask].mean()

    quantizer = build(parts, temperature=temperature, kl_weight=kl, hard=hard)

    def objective(x):
        quantized, _ = quantizer(x, mask=given, training=True)
        return ops.sum(ops.multiply(quantized, upstream)) + sum(quantizer.losses)

    found = gradients(objective, shown, weights_of(quantizer))
    upstream = upstream * mask[:, None]
    by_shares = upstream @ codes.T
    by_logits = shares * (by_shares - np.sum(shares * by_shares, -1, keepdims=True)) / temperature
    by_logits += kl / mask.sum() * mask[:, None] * p * (np.log(p * K) - divergences[:, None])
    chosen = np.eye(K)[indices] if hard else shares
    masked_inputs = np.where(mask[:, None], inputs, 0.0)
    expected = [
        by_logits @ kernel.T,
        masked_inputs.T @ by_logits,
        by_logits.sum(axis=0),
        chosen.T @ upstream,
    ]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    quantizer(shown, mask=given)
    np.testing.assert_allclose(numpy(sum(quantizer.losses)), loss, rtol=1e-5)


def test_no_divergence_of_uniform_logits():
    quantizer = GumbelSoftmaxQuantizer(K, kl_weight=1.0)
    _, indices = quantizer(np.zeros((4, DIM), "float32"))
    np.testing.assert_allclose(numpy(sum(quantizer.losses)), 0.0, atol=1e-6)
    np.testing.assert_array_equal(numpy(indices), 0)  # lowest index of ties


def test_temperature_follows_the_training_steps(parts):
    schedule = keras.optimizers.schedules.PolynomialDecay(1.0, 4, 0.2)
    quantizer = build(parts, temperature=schedule)
    fixed = [build(parts, temperature=value) for value in (1.0, 0.8)]
    quantizer(parts[0])
    first, _ = quantizer(parts[0], training=True)
    np.testing.assert_allclose(numpy(first), numpy(fixed[0](parts[0], training=True)[0]), rtol=1e-6)
    assert int(quantizer.step) == 1
    quantizer(parts[0])
    second, _ = quantizer(parts[0], training=True)
    fixed[1](parts[0], training=True)  # compare the second draw
    expected, _ = fixed[1](parts[0], training=True)
    np.testing.assert_allclose(numpy(second), numpy(expected), rtol=1e-5, atol=1e-6)
    assert int(quantizer.step) == 2
    quantizer.trainable = False
    quantizer(parts[0], training=True)
    assert int(quantizer.step) == 2


def test_a_shared_quantizer_counts_a_step_once(parts):
    schedule = keras.optimizers.schedules.PolynomialDecay(1.0, 4, 0.2)
    shared = GumbelSoftmaxQuantizer(K, temperature=schedule)
    keras_vq.ResidualQuantizer([shared, shared])(parts[0], training=True)
    assert int(shared.step) == 1


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codebook_size": 0}, r"`codebook_size` must be.*Received: 0"),
        ({"codebook_size": 4, "temperature": 0.0}, r"`temperature` must be.*Received: 0\.0"),
        ({"codebook_size": 4, "kl_weight": -1.0}, r"`kl_weight` must be.*Received: -1\.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GumbelSoftmaxQuantizer(**arguments)


@pytest.mark.parametrize("hard", [False, True])
def test_weights_move_in_training_and_come_back_from_a_file(rng, tmp_path, hard):
    vectors = rng.normal(size=(64, DIM)).astype("float32")
    inputs = keras.Input((DIM,))
    schedule = keras.optimizers.schedules.ExponentialDecay(1.0, 10, 0.9)
    quantizer = GumbelSoftmaxQuantizer(K, temperature=schedule, hard=hard)
    quantized, indices = quantizer(keras.layers.Dense(DIM)(inputs))
    model = keras.Model(inputs, [keras.layers.Dense(DIM)(quantized), indices])
    model.compile(keras.optimizers.SGD(0.1), loss=["mse", None])
    before = [numpy(weight).copy() for weight in model.trainable_weights]
    model.fit(vectors, vectors, batch_size=16, verbose=0)
    for old, weight in zip(before, model.trainable_weights, strict=True):
        assert (numpy(weight) != old).any(), weight.path
    assert int(quantizer.step) == 4
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    outputs = (made.predict(vectors, verbose=0) for made in (model, copy))
    for ours, theirs in zip(*outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert int(copy.layers[2].step) == 4
