"""Tests of LookupFreeQuantizer against its formulas in float64."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_vq.losses import EntropyLoss
from keras_vq.quantizers.lookup_free_quantizer import LookupFreeQuantizer
from tests.gradients import gradients

numpy = ops.convert_to_numpy


def on_sphere(x, radius=1.0):
    return radius * x / np.linalg.norm(x, axis=-1, keepdims=True)


def signs_of(bits):
    """Returns all vectors of `bits` signs; the first dimension is the most significant bit."""
    return 2.0 * (np.arange(2**bits)[:, None] >> np.arange(bits - 1, -1, -1) & 1) - 1.0


def entropy_of(p):
    return -np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0), axis=-1)


def expected_loss(x, size, commitment, entropy, groups):
    """Computes the loss of latents x, with entropies over the codes of each group of bits."""
    loss = commitment * np.mean((x - size * np.where(x > 0, 1.0, -1.0)) ** 2)
    for group in np.split(x, np.cumsum(groups)[:-1], axis=-1):
        codes = size * signs_of(group.shape[-1])
        logits = -((group[:, None] - codes) ** 2).sum(-1) / entropy.temperature
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        loss += entropy.per_sample_weight * entropy_of(p).mean()
        loss -= entropy.batch_weight * entropy_of(p.mean(axis=0))
    return loss


def numerical_gradient(function, x, step=1e-6):
    gradient = np.zeros(x.shape)
    for place in np.ndindex(*x.shape):
        move = np.zeros(x.shape)
        move[place] = step
        gradient[place] = (function(x + move) - function(x - move)) / (2.0 * step)
    return gradient


@pytest.mark.parametrize(
    ("spherical", "scale"), [(False, 1.0), (False, 0.5), (True, 1.0), (True, 3.0)]
)
def test_codes_and_indices(rng, spherical, scale):
    quantizer = LookupFreeQuantizer(spherical, scale=scale)
    inputs = rng.normal(size=(3, 7, 5)).astype("float32")
    inputs[0, 0, 0] = 0.0
    quantized, indices = quantizer(inputs)
    size = scale / np.sqrt(5.0) if spherical else scale
    expected = np.where(inputs > 0, size, -size).astype("float32")
    np.testing.assert_array_equal(numpy(quantized), expected)
    np.testing.assert_array_equal(numpy(indices), (inputs > 0) @ [16, 8, 4, 2, 1])
    every = np.arange(32, dtype="int32")
    np.testing.assert_array_equal(
        numpy(quantizer.decode(every)), (size * signs_of(5)).astype("float32")
    )
    np.testing.assert_array_equal(numpy(quantizer.encode(quantizer.decode(every))), every)


def test_first_dimension_is_the_most_significant_bit():
    _, indices = LookupFreeQuantizer()(np.array([[1, -1, -1, -1], [0, 0, 0, 1]], "float32"))
    np.testing.assert_array_equal(numpy(indices), [8, 1])


@pytest.mark.parametrize(("dim", "words"), [(30, [30]), (36, [18, 18]), (64, [22, 21, 21])])
def test_many_bits(rng, dim, words):
    quantizer = LookupFreeQuantizer()
    inputs = rng.normal(size=(3, 4, dim)).astype("float32")
    inputs[0, 0] = 1.0
    quantized, indices = quantizer(inputs)
    assert quantizer.codebook_sizes == tuple(2**bits for bits in words)
    assert quantizer.codebook_size == 2**dim
    assert quantizer.bits_per_vector == dim
    parts = np.split(inputs > 0, np.cumsum(words)[:-1], axis=-1)
    expected = [part @ 2 ** np.arange(part.shape[-1] - 1, -1, -1) for part in parts]
    expected = np.stack(expected, axis=-1) if len(words) > 1 else expected[0]
    np.testing.assert_array_equal(numpy(indices), expected)
    np.testing.assert_array_equal(numpy(quantizer.decode(indices)), numpy(quantized))
    assert np.isfinite(numpy(sum(quantizer.losses)))
    mask = np.arange(12).reshape(3, 4) % 2 > 0
    quantized, indices = quantizer(inputs, mask=mask)
    assert (numpy(indices)[~mask] == -1).all()
    np.testing.assert_array_equal(numpy(quantizer.decode(indices)), numpy(quantized))


@pytest.mark.parametrize(
    ("spherical", "bits_per_group", "groups", "masked"),
    [
        (False, 8, [5], False),
        (False, 3, [3, 2], True),
        (True, 8, [5], True),
        (True, 1, [1] * 5, False),
    ],
)
def test_loss_and_its_gradient(rng, spherical, bits_per_group, groups, masked):
    entropy = EntropyLoss(per_sample_weight=0.3, batch_weight=0.7, temperature=0.4)
    quantizer = LookupFreeQuantizer(
        spherical,
        commitment_weight=0.5,
        entropy_loss=entropy,
        bits_per_group=bits_per_group,
        scale=0.8,
    )
    inputs = rng.normal(size=(6, 5)).astype("float32")
    mask = np.array([1, 1, 0, 1, 0, 1], bool) if masked else None
    kept = np.ones(6, bool) if mask is None else mask
    size = 0.8 / np.sqrt(5.0) if spherical else 0.8

    def expected(x):
        latents = on_sphere(x[kept], 0.8) if spherical else x[kept]
        return expected_loss(latents, size, 0.5, entropy, groups)

    def loss(x):
        quantizer(x, mask=mask)
        return sum(quantizer.losses)

    exact = inputs.astype("float64")
    np.testing.assert_allclose(numpy(loss(inputs)), expected(exact), rtol=1e-5)
    (gradient,) = gradients(loss, inputs)
    np.testing.assert_allclose(gradient, numerical_gradient(expected, exact), rtol=1e-4, atol=1e-6)


def test_entropy_of_each_vector_is_the_same_for_all_groups(rng):
    inputs = rng.normal(size=(10, 6)).astype("float32")
    losses = []
    for bits_per_group in (4, 6):
        quantizer = LookupFreeQuantizer(
            commitment_weight=0.0,
            entropy_loss=EntropyLoss(1.0, 0.0, 2.0),
            bits_per_group=bits_per_group,
        )
        quantizer(inputs)
        losses.append(numpy(sum(quantizer.losses)))
    p = 1.0 / (1.0 + np.exp(-4.0 * inputs.astype("float64") / 2.0))
    by_bits = entropy_of(np.stack([p, 1.0 - p], axis=-1)).sum(-1).mean()
    np.testing.assert_allclose(losses, by_bits, rtol=1e-5)


def test_gradient_passes_the_sphere(rng):
    quantizer = LookupFreeQuantizer(spherical=True, commitment_weight=0.0, entropy_loss=0)
    inputs = rng.normal(size=(6, 4)).astype("float32")
    upstream = rng.normal(size=(6, 4)).astype("float32")
    (gradient,) = gradients(lambda x: ops.sum(ops.multiply(quantizer(x)[0], upstream)), inputs)
    expected = numerical_gradient(
        lambda x: np.sum(on_sphere(x) * upstream), inputs.astype("float64")
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.backend_free
def test_bits_of_indices():
    quantizer = LookupFreeQuantizer()
    assert quantizer.code_shape == ()
    quantizer.build((None, 31))
    assert quantizer.code_shape == (2,)
    assert quantizer.codebook_sizes == (2**16, 2**15)


@pytest.mark.backend_free
def test_entropy_by_its_weight():
    config = EntropyLoss(0.2, 0.2, 0.01).get_config()
    assert LookupFreeQuantizer(entropy_loss=0.2).entropy_loss.get_config() == config
    assert LookupFreeQuantizer(entropy_loss=0).entropy_loss is None
    assert LookupFreeQuantizer(entropy_loss=None).entropy_loss is None
    copy = LookupFreeQuantizer.from_config(LookupFreeQuantizer(entropy_loss=0).get_config())
    assert copy.entropy_loss is None


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"commitment_weight": -1.0}, r"`commitment_weight` must be.*-1\.0"),
        ({"entropy_loss": -1.0}, r"`entropy_loss` must be.*-1\.0"),
        ({"bits_per_group": 0}, r"`bits_per_group` must be.*Received: 0"),
        ({"bits_per_group": 17}, r"`bits_per_group` must be at most 16.*Received: 17"),
        ({"scale": 0.0}, r"`scale` must be a finite positive number.*Received: 0\.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LookupFreeQuantizer(**arguments)


@pytest.mark.backend_free
def test_sizes_are_not_known_before_the_dimension():
    with pytest.raises(ValueError, match=r"depend on the dimension.*unbuilt quantizer"):
        _ = LookupFreeQuantizer().codebook_sizes


@pytest.mark.parametrize("spherical", [False, True])
def test_model_comes_back_from_a_file(rng, tmp_path, spherical):
    vectors = rng.normal(size=(32, 3)).astype("float32")
    inputs = keras.Input((3,))
    quantized, indices = LookupFreeQuantizer(spherical)(keras.layers.Dense(33)(inputs))
    model = keras.Model(inputs, [keras.layers.Dense(3)(quantized), indices])
    model.compile("sgd", loss=["mse", None])
    kernel = numpy(model.layers[1].kernel).copy()
    model.fit(vectors, vectors, verbose=0)
    assert (numpy(model.layers[1].kernel) != kernel).any()
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    outputs = (made.predict(vectors, verbose=0) for made in (model, copy))
    for ours, theirs in zip(*outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)
