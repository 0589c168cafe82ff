"""Tests of FiniteScalarQuantizer against its formulas in float64."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_vq.quantizers.finite_scalar_quantizer import FiniteScalarQuantizer
from tests.gradients import gradients

numpy = ops.convert_to_numpy

CASES = [
    ([8, 5, 5, 5], "mentzer"),
    ([8, 6, 5], "vector_quantize_pytorch"),
    ([2, 3, 4], "symmetric"),
    ([7, 5, 5, 5, 5], "symmetric"),
]


def constants(levels, convention):
    """Computes the half range, offset and shift of each dimension."""
    levels = np.array(levels, "float64")
    sign = -1.0 if convention == "mentzer" else 1.0
    amplitude = (levels - 1.0) * (1.0 + sign * 1e-3) / 2.0
    offset = np.where(levels % 2 == 0, 0.5, 0.0)
    with np.errstate(invalid="ignore"):
        inverse = np.tan if convention == "mentzer" else np.arctanh
        return amplitude, offset, inverse(offset / amplitude)


def expected(inputs, levels, convention):
    """Computes the distance to the nearest tie, quantized values, level numbers and gradients."""
    z, sizes = inputs.astype("float64"), np.array(levels)
    if convention == "symmetric":
        position = (sizes - 1) * (np.tanh(z) + 1.0) / 2.0
        numbers = np.floor(position + 0.5)
        codes, slopes = 2.0 * numbers / (sizes - 1) - 1.0, np.cosh(z) ** -2.0
    else:
        amplitude, offset, shift = constants(levels, convention)
        position = amplitude * np.tanh(z + shift) - offset
        half = sizes // 2
        numbers = np.round(position) + half
        codes = np.round(position) / half
        slopes = amplitude / half * np.cosh(z + shift) ** -2.0
    ties = np.abs(position - np.floor(position) - 0.5)
    return ties, codes, numbers.astype(int), slopes


def clear_inputs(rng, levels, convention):
    """Draws vectors that are not near a tie."""
    drawn = rng.normal(scale=1.5, size=(300, len(levels))).astype("float32")
    is_clear = (expected(drawn, levels, convention)[0] > 1e-3).all(axis=-1)
    return drawn[is_clear][:64]


@pytest.mark.parametrize(("levels", "convention"), CASES)
def test_codes_indices_and_gradients(rng, levels, convention):
    quantizer = FiniteScalarQuantizer(levels, convention)
    inputs = clear_inputs(rng, levels, convention)
    _, codes, numbers, slopes = expected(inputs, levels, convention)
    quantized, indices = quantizer(inputs)
    np.testing.assert_allclose(numpy(quantized), codes, rtol=1e-6, atol=1e-7)
    basis = np.cumprod([1, *levels[:-1]])
    np.testing.assert_array_equal(numpy(indices), (numbers * basis).sum(-1))
    np.testing.assert_array_equal(numpy(quantizer.decode(indices)), numpy(quantized))
    assert quantizer.losses == []

    upstream = rng.normal(size=inputs.shape).astype("float32")
    (gradient,) = gradients(lambda x: ops.sum(ops.multiply(quantizer(x)[0], upstream)), inputs)
    np.testing.assert_allclose(gradient, upstream * slopes, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("levels", "convention"), CASES)
def test_every_code(levels, convention):
    quantizer = FiniteScalarQuantizer(levels, convention)
    quantizer.build((None, len(levels)))
    every = np.arange(quantizer.codebook_size, dtype="int32")
    codes = numpy(quantizer.decode(every))
    assert len(np.unique(codes, axis=0)) == quantizer.codebook_size == np.prod(levels)
    numbers = every[:, None] // np.cumprod([1, *levels[:-1]]) % levels
    if convention == "symmetric":
        expected_codes = 2.0 * numbers / (np.array(levels) - 1) - 1.0
    else:
        half = np.array(levels) // 2
        expected_codes = (numbers - half) / half
    np.testing.assert_array_equal(codes, expected_codes.astype("float32"))
    # Quantized values are bounded, so each is its own nearest one.
    np.testing.assert_array_equal(
        numpy(quantizer._search_codes(ops.convert_to_tensor(codes))), every
    )


def test_indices_at_the_ends():
    for convention in ("mentzer", "vector_quantize_pytorch", "symmetric"):
        quantizer = FiniteScalarQuantizer([8, 5, 3], convention)
        _, indices = quantizer(np.array([[-1e4] * 3, [1e4] * 3], "float32"))
        np.testing.assert_array_equal(numpy(indices), [0, 119])


def test_ties_are_rounded_to_even():
    quantizer = FiniteScalarQuantizer([9])
    quantizer.build((None, 1))
    latents = np.array([[-3.5], [-2.5], [-0.5], [0.5], [1.5], [2.5]], "float32") / 4.0
    levels = numpy(quantizer._find_levels(ops.convert_to_tensor(latents)))[:, 0] - 4
    np.testing.assert_array_equal(levels, [-4, -2, 0, 0, 2, 2])


@pytest.mark.parametrize("levels", [[4], [8], [5]])
def test_zero_is_a_code_of_the_library_convention(levels):
    quantizer = FiniteScalarQuantizer(levels, "vector_quantize_pytorch")
    quantizer.build((None, 1))
    latents = numpy(quantizer._project_in(np.zeros((1, 1), "float32")))
    np.testing.assert_allclose(latents, 0.0, atol=1e-6)


def test_border_of_two_levels():
    inputs = np.array([[-1.58], [-1.54], [-0.01], [0.01]], "float32")
    _, indices = FiniteScalarQuantizer([2])(inputs)
    np.testing.assert_array_equal(numpy(indices), [0, 1, 1, 1])
    _, indices = FiniteScalarQuantizer([2], "symmetric")(inputs)
    np.testing.assert_array_equal(numpy(indices), [0, 0, 0, 1])


@pytest.mark.parametrize("levels", [[2] * 30, [65536, 32767]])
def test_largest_codebooks(levels):
    quantizer = FiniteScalarQuantizer(levels, "symmetric")
    inputs = np.array([[-9e3] * len(levels), [9e3] * len(levels)], "float32")
    quantized, indices = quantizer(inputs)
    np.testing.assert_array_equal(numpy(indices), [0, quantizer.codebook_size - 1])
    np.testing.assert_array_equal(numpy(quantized), np.sign(inputs))
    np.testing.assert_array_equal(numpy(quantizer.decode(indices)), np.sign(inputs))


@pytest.mark.parametrize("convention", ["mentzer", "symmetric"])
def test_noise_in_training(rng, convention):
    inputs = rng.normal(scale=0.3, size=(500, 2)).astype("float32")
    levels = [4, 5]
    quantizer = FiniteScalarQuantizer(levels, convention, noise=0.3, seed=1)
    plain, plain_indices = quantizer(inputs)
    noisy, indices = quantizer(inputs, training=True)
    np.testing.assert_array_equal(numpy(indices), numpy(plain_indices))
    plain, noisy = numpy(plain), numpy(noisy)
    assert 0.25 < (plain != noisy).mean() < 0.35
    width = 1.0 / (np.array(levels) // 2 if convention == "mentzer" else (np.array(levels) - 1) / 2)
    latents = numpy(quantizer._project_in(inputs))
    assert (np.abs(noisy - latents) <= 0.5 * width + 1e-5).all()

    twin = FiniteScalarQuantizer(levels, convention, noise=0.3, seed=1)
    np.testing.assert_array_equal(numpy(twin(inputs, training=True)[0]), noisy)
    assert (numpy(quantizer(inputs, training=True)[0]) != noisy).any()

    far = numpy(quantizer(100.0 * inputs, training=True)[0])
    assert (far >= -1.0).all()
    assert (far <= numpy(quantizer(np.full((1, 2), 1e3, "float32"))[0])).all()


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": []}, r"list of integers from 2"),
        ({"levels": 8}, r"list of integers from 2.*Received: 8"),
        ({"levels": [8, 1]}, r"Received: \[8, 1\]"),
        ({"levels": [8, 2.0]}, r"Received: \[8, 2.0\]"),
        ({"levels": [True, 4]}, r"Received: \[True, 4\]"),
        ({"levels": [65537]}, r"Received: \[65537\]"),
        ({"levels": [2] * 31}, r"at most 2,147,483,647.*keras_vq\.ProductQuantizer.*2,147,483,648"),
        ({"levels": [4], "convention": "tanh"}, r"`convention` must be one of.*'tanh'"),
        ({"levels": [4, 2], "convention": "vector_quantize_pytorch"}, r"must be at least 3"),
        ({"levels": [4], "noise": 1.0}, r"`noise` must be a number in \[0, 1\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FiniteScalarQuantizer(**arguments)


@pytest.mark.backend_free
def test_another_dimension():
    with pytest.raises(
        ValueError, match=r"`levels`, 2\..*keras_vq\.ProjectedQuantizer.*\(None, 3\)"
    ):
        FiniteScalarQuantizer([4, 4]).build((None, 3))


def test_model_comes_back_from_a_file(rng, tmp_path):
    vectors = rng.normal(size=(32, 3)).astype("float32")
    inputs = keras.Input((3,))
    quantizer = FiniteScalarQuantizer([8, 5], "symmetric", noise=0.5, seed=3)
    quantized, indices = quantizer(keras.layers.Dense(2)(inputs))
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
