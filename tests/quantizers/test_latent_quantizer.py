"""Tests of LatentQuantizer against its formulas in float64."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_vq.quantizers.latent_quantizer import LatentQuantizer
from tests.gradients import gradients

numpy = ops.convert_to_numpy
LEVELS = [2, 5, 3]
STARTS = [0, 2, 7, 10]


@pytest.fixture
def values(rng):
    return rng.normal(size=10).astype("float32")


@pytest.fixture
def quantizer(values):
    layer = LatentQuantizer(LEVELS, commitment_weight=0.2, quantization_loss_weight=0.7)
    layer.build((None, 3))
    layer.values.assign(values)
    return layer


@pytest.fixture
def inputs(rng):
    return rng.normal(size=(4, 9, 3)).astype("float32")


def chosen_levels(inputs, values):
    lists = [values[start:end] for start, end in itertools.pairwise(STARTS)]
    return np.stack(
        [np.abs(inputs[..., d, None] - own).argmin(-1) for d, own in enumerate(lists)], axis=-1
    )


def test_codes_and_indices(quantizer, inputs, values):
    quantized, indices = quantizer(inputs)
    levels = chosen_levels(inputs, values)
    np.testing.assert_array_equal(numpy(indices), levels @ [1, 2, 10])
    np.testing.assert_array_equal(numpy(quantized), values[levels + STARTS[:-1]])
    np.testing.assert_array_equal(numpy(quantizer.decode(indices)), numpy(quantized))


def test_every_code_follows_the_learned_values(quantizer, values):
    every = np.arange(30, dtype="int32")
    levels = every[:, None] // np.array([1, 2, 10]) % LEVELS
    codes = numpy(quantizer.decode(every))
    np.testing.assert_array_equal(codes, values[levels + STARTS[:-1]])
    np.testing.assert_array_equal(numpy(quantizer.encode(codes)), every)


@pytest.mark.parametrize("masked", [False, True])
def test_loss_and_gradients(quantizer, inputs, values, rng, masked):
    mask = rng.random(inputs.shape[:-1]) < 0.6 if masked else np.ones(inputs.shape[:-1], bool)
    places = chosen_levels(inputs, values) + STARTS[:-1]
    errors = (inputs.astype("float64") - values[places]) * mask[..., None]
    entries = 3.0 * mask.sum()
    upstream = rng.normal(size=inputs.shape).astype("float32")

    def objective(x):
        quantized, _ = quantizer(x, mask=mask if masked else None)
        return ops.sum(ops.multiply(quantized, upstream)) + sum(quantizer.losses)

    quantizer(inputs, mask=mask if masked else None)
    loss = numpy(sum(quantizer.losses))
    np.testing.assert_allclose(loss, 0.9 * np.sum(errors**2) / entries, rtol=1e-5)

    by_inputs, by_values = gradients(objective, inputs, [quantizer.values])
    wanted = upstream * mask[..., None] + 0.2 * 2.0 * errors / entries
    np.testing.assert_allclose(by_inputs, wanted, rtol=1e-5, atol=1e-7)
    wanted = np.zeros(10)
    np.add.at(wanted, places, -0.7 * 2.0 * errors / entries)
    np.testing.assert_allclose(by_values, wanted, rtol=1e-5, atol=1e-7)
    assert (by_values != 0).any()


def test_values_start_evenly():
    quantizer = LatentQuantizer([3, 4])
    quantizer.build((None, 2))
    expected = [-0.5, 0.0, 0.5, -0.5, -0.25, 0.0, 0.25]
    np.testing.assert_array_equal(numpy(quantizer.values), expected)


def test_lowest_of_equal_values_wins(quantizer):
    quantizer.values.assign([1, 1, 0, 0, 0, 0, 0, 2, 0, 0])
    _, indices = quantizer(np.array([[1, 0, 0], [5, 5, 1]], "float32"))
    np.testing.assert_array_equal(numpy(indices), [10, 0])


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": [1]}, r"list of integers from 2"),
        ({"levels": [10] * 10}, r"at most 2,147,483,647.*keras_vq\.ProductQuantizer"),
        ({"levels": [4], "commitment_weight": -1.0}, r"`commitment_weight` must be.*-1\.0"),
        (
            {"levels": [4], "quantization_loss_weight": -1.0},
            r"`quantization_loss_weight` must be.*-1\.0",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LatentQuantizer(**arguments)


@pytest.mark.backend_free
def test_another_dimension():
    with pytest.raises(
        ValueError, match=r"`levels`, 2\..*keras_vq\.ProjectedQuantizer.*\(None, 3\)"
    ):
        LatentQuantizer([4, 4]).build((None, 3))


@pytest.mark.parametrize("trainable", [True, False])
def test_values_move_in_training_and_come_back_from_a_file(inputs, tmp_path, trainable):
    vectors = inputs.reshape(-1, 3)
    given = keras.Input((3,))
    quantizer = LatentQuantizer(LEVELS, trainable=trainable)
    quantized, indices = quantizer(keras.layers.Dense(3)(given))
    model = keras.Model(given, [keras.layers.Dense(3)(quantized), indices])
    model.compile(keras.optimizers.SGD(0.1), loss=["mse", None])
    before = numpy(quantizer.values).copy()
    model.fit(vectors, vectors, verbose=0)
    assert (numpy(quantizer.values) != before).any() == trainable
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    outputs = (made.predict(vectors, verbose=0) for made in (model, copy))
    for ours, theirs in zip(*outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)
