"""Tests of RandomProjectionQuantizer against its formulas in float64."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_vq.quantizers.random_projection_quantizer import RandomProjectionQuantizer
from tests.gradients import gradients

numpy = ops.convert_to_numpy
K, DIM, CODE_DIM = 20, 6, 3


def build(codebooks=1, seed=0):
    quantizer = RandomProjectionQuantizer(K, CODE_DIM, codebooks, seed=seed)
    quantizer.build((None, DIM))
    return quantizer


@pytest.fixture
def inputs(rng):
    return rng.normal(loc=2.0, scale=3.0, size=(3, 8, DIM)).astype("float32")


@pytest.mark.parametrize("codebooks", [1, 3])
def test_codes_and_indices(inputs, codebooks):
    quantizer = build(codebooks)
    quantized, indices = quantizer(inputs, training=True)
    shape = (3, 8, codebooks) if codebooks > 1 else (3, 8)
    assert tuple(indices.shape) == shape
    assert tuple(quantized.shape) == (3, 8, codebooks * CODE_DIM)
    symbolic = quantizer(keras.KerasTensor((None, 8, DIM)))
    assert [part.shape for part in symbolic] == [(None, *quantized.shape[1:]), (None, *shape[1:])]
    assert quantizer.codebook_sizes == (K,) * codebooks

    x = inputs.astype("float64")
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    matrices, codes = numpy(quantizer.projection), numpy(quantizer.embeddings)
    projected = np.einsum("bnd,hde->bnhe", x, matrices)
    projected /= np.linalg.norm(projected, axis=-1, keepdims=True)
    distances = ((projected[..., None, :] - codes) ** 2).sum(-1)
    expected = distances.argmin(-1)
    np.testing.assert_array_equal(numpy(indices), expected.reshape(shape))
    wanted = np.concatenate([codes[h][expected[..., h]] for h in range(codebooks)], axis=-1)
    np.testing.assert_array_equal(numpy(quantized), wanted)
    np.testing.assert_array_equal(numpy(quantizer.decode(indices)), wanted)
    np.testing.assert_array_equal(numpy(quantizer.encode(inputs)), numpy(indices))


def test_labels_do_not_see_scale_and_shift(inputs):
    quantizer = build()
    np.testing.assert_array_equal(
        numpy(quantizer.encode(inputs)), numpy(quantizer.encode(5.0 * inputs + 3.0))
    )


def test_draws():
    quantizer = RandomProjectionQuantizer(500, 16, seed=1)
    quantizer.build((None, 100))
    matrix, codes = numpy(quantizer.projection)[0], numpy(quantizer.embeddings)[0]
    np.testing.assert_allclose(matrix.std(), np.sqrt(2.0 / 116), rtol=0.1)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=-1), 1.0, rtol=1e-5)
    # Codes and projection have independent random numbers.
    first = codes.reshape(-1)[:1600]
    assert abs(np.corrcoef(first, matrix.reshape(-1))[0, 1]) < 0.2
    same, other = build(seed=3), build(seed=3)
    for ours, theirs in zip(same.weights, other.weights, strict=True):
        np.testing.assert_array_equal(numpy(ours), numpy(theirs))
    assert (numpy(build(seed=4).embeddings) != numpy(same.embeddings)).any()


def test_nothing_learns_and_no_gradient_passes(inputs):
    quantizer = build(codebooks=2)
    before = [numpy(weight).copy() for weight in quantizer.weights]
    assert quantizer.trainable_weights == []
    (gradient,) = gradients(
        lambda x: ops.sum(quantizer(x, training=True)[0]) + 2.0 * ops.sum(x), inputs
    )
    np.testing.assert_array_equal(gradient, 2.0)
    assert quantizer.losses == []
    for old, weight in zip(before, quantizer.weights, strict=True):
        np.testing.assert_array_equal(numpy(weight), old)


def test_masked_positions_change_nothing(inputs, rng):
    quantizer = build(codebooks=2)
    mask = rng.random(inputs.shape[:-1]) < 0.6
    spoiled = np.where(mask[..., None], inputs, np.nan).astype("float32")
    plain, plain_indices = quantizer(inputs)
    quantized, indices = quantizer(spoiled, mask=mask)
    np.testing.assert_array_equal(numpy(quantized)[mask], numpy(plain)[mask])
    np.testing.assert_array_equal(numpy(indices)[mask], numpy(plain_indices)[mask])
    assert (numpy(quantized)[~mask] == 0).all()
    assert (numpy(indices)[~mask] == -1).all()
    np.testing.assert_array_equal(numpy(quantizer.decode(indices)), numpy(quantized))


@pytest.mark.parametrize("value", [0.0, 1e4])
def test_vectors_that_are_all_equal(value):
    quantized, indices = build()(np.full((1, DIM), value, "float32"))
    assert np.isfinite(numpy(quantized)).all()
    assert 0 <= numpy(indices).item() < K


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(inputs, policy):
    expected = build()
    keras.config.set_dtype_policy(policy)
    half = keras.dtype_policies.get(policy).compute_dtype
    quantizer = build()
    given = ops.cast(inputs, half)
    quantized, indices = quantizer(given)
    assert keras.backend.standardize_dtype(quantized.dtype) == half
    assert {weight.dtype for weight in quantizer.weights} == {"float32"}
    reference = expected.encode(ops.cast(given, "float32"))
    np.testing.assert_array_equal(numpy(indices), numpy(reference))


@pytest.mark.backend_free
@pytest.mark.parametrize("name", ["codebook_size", "embedding_dim", "num_codebooks"])
def test_bad_arguments(name):
    with pytest.raises(ValueError, match=rf"`{name}` must be.*Received: 0"):
        RandomProjectionQuantizer(**{"codebook_size": 4, name: 0})


def test_model_comes_back_from_a_file_with_its_draws(inputs, tmp_path):
    given = keras.Input((8, DIM))
    quantizer = RandomProjectionQuantizer(K, CODE_DIM, 2)
    quantized, indices = quantizer(given)
    model = keras.Model(given, [keras.layers.Dense(DIM)(quantized), indices])
    model.compile("sgd", loss=["mse", None])
    before = [numpy(weight).copy() for weight in quantizer.weights]
    model.fit(inputs, inputs, verbose=0)
    for old, weight in zip(before, quantizer.weights, strict=True):
        np.testing.assert_array_equal(numpy(weight), old)
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    outputs = (made.predict(inputs, verbose=0) for made in (model, copy))
    for ours, theirs in zip(*outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)
