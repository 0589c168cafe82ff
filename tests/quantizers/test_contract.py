"""Tests of the common contract of all quantizers."""

import math

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras import ops

import keras_vq
from tests.gradients import gradients
from tests.quantizers.cases import QUANTIZER_CASES

DIM = 4
BACKEND = keras.backend.backend()


@pytest.fixture(params=QUANTIZER_CASES, ids=lambda case: case.id)
def case(request):
    return request.param


@pytest.fixture
def vectors(rng):
    return rng.normal(size=(3, 5, 5, DIM)).astype("float32")


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def weights_of(layer):
    """Returns copies of all weights."""
    return [numpy(weight).copy() for weight in layer.weights]


def assert_same_weights(before, after):
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def built(case):
    quantizer = case.build()
    quantizer.build((None, 5, 5, DIM))
    return quantizer


def learned(layer):
    """Returns whether any weights differ in a pair of lists (before, after)."""
    return any((old != new).any() for old, new in zip(*layer, strict=True))


def loss_of(layer):
    return numpy(sum(layer.losses, start=0.0))


def all_indices(quantizer, vectors):
    """Returns the indices as an array with one row per vector."""
    return numpy(quantizer.encode(vectors)).reshape(-1, len(quantizer.codebook_sizes))


@pytest.mark.parametrize("shape", [(3, 5, 5, DIM), (1, DIM), (2, 6, DIM), (2, 2, 2, 2, DIM)])
def test_shapes_and_dtypes(case, rng, shape):
    quantizer = case.build()
    if len(shape) != 4 and not quantizer._has_codes_per_vector:
        pytest.skip("takes one grid; tested on its own")
    if len(shape) != 4 and not case.is_typical:
        pytest.skip("takes any rank as another case")
    inputs = rng.normal(size=shape).astype("float32")
    quantized, indices = quantizer(inputs)
    output_shape = (*shape[:-1], case.output_dim)
    assert tuple(quantized.shape) == output_shape
    if quantizer._has_codes_per_vector:
        assert tuple(indices.shape) == shape[:-1] + quantizer.code_shape
    assert keras.backend.standardize_dtype(quantized.dtype) == "float32"
    assert keras.backend.standardize_dtype(indices.dtype) == "int32"

    symbolic = case.build()(keras.KerasTensor((None, *shape[1:])))
    assert [part.shape[1:] for part in symbolic] == [output_shape[1:], tuple(indices.shape[1:])]
    assert [part.dtype for part in symbolic] == ["float32", "int32"]
    assert quantizer.compute_output_shape(shape) == (output_shape, tuple(indices.shape))


def test_indices_are_in_range(case, vectors):
    quantizer = built(case)
    indices = all_indices(quantizer, vectors)
    assert (indices >= 0).all()
    assert (indices < quantizer.codebook_sizes).all()
    assert quantizer.codebook_size == math.prod(quantizer.codebook_sizes)
    if quantizer._has_codes_per_vector:
        assert quantizer.bits_per_vector == pytest.approx(math.log2(quantizer.codebook_size))


def test_decode_gives_the_inference_output_to_the_bit(case, vectors):
    quantizer = built(case)
    quantized, indices = quantizer(vectors, training=False)
    np.testing.assert_array_equal(numpy(quantizer.decode(indices)), numpy(quantized))
    np.testing.assert_array_equal(numpy(quantizer.encode(vectors)), numpy(indices))


def test_each_vector_becomes_its_nearest_code(case, vectors):
    if not case.is_nearest:
        pytest.skip("not by Euclidean distance")
    quantizer = built(case)
    _, indices = quantizer(vectors)
    codes = numpy(quantizer.decode(np.arange(quantizer.codebook_size, dtype="int32")))
    distances = ((vectors[..., None, :].astype("float64") - codes) ** 2).sum(-1)
    np.testing.assert_array_equal(numpy(indices), distances.argmin(-1))


def test_inference_changes_no_state(case, vectors):
    quantizer = built(case)
    before = weights_of(quantizer)
    quantizer(vectors)
    quantizer(vectors, training=False)
    quantizer.encode(vectors)
    quantizer.decode(quantizer.encode(vectors))
    assert_same_weights(before, weights_of(quantizer))


def test_training_changes_what_learns_by_statistics(case, vectors):
    quantizer = built(case)
    before = weights_of(quantizer)
    quantizer(vectors, training=True)
    assert learned((before, weights_of(quantizer))) == case.learns_by_statistics
    assert bool(quantizer.trainable_weights) == case.learns_by_gradient


def test_frozen_quantizer_does_not_learn(case, vectors):
    quantizer = built(case)
    quantizer.trainable = False
    before = weights_of(quantizer)
    quantizer(vectors, training=True)
    assert_same_weights(before, weights_of(quantizer))
    assert quantizer.trainable_weights == []


def test_gradient_of_straight_through_is_the_identity(case, vectors, rng):
    if not case.is_straight_through:
        pytest.skip("another estimator")
    quantizer = built(case)
    # Integers, so that sums over stages are exact.
    upstream = rng.integers(-9, 9, size=vectors.shape).astype("float32")
    (gradient,) = gradients(lambda x: ops.sum(ops.multiply(quantizer(x)[0], upstream)), vectors)
    np.testing.assert_array_equal(gradient, upstream)


def test_masked_positions_change_nothing(case, vectors, rng):
    mask = rng.random(vectors.shape[:-1]) < 0.6
    spoiled = np.where(mask[..., None], vectors, np.nan).astype("float32")
    results = []
    for inputs in (vectors, spoiled):
        keras.utils.set_random_seed(7)
        quantizer = built(case)
        quantized, indices = quantizer(inputs, mask=mask, training=True)
        (gradient,) = gradients(lambda x, layer=quantizer: _loss(layer, x, mask), inputs)
        results.append([numpy(quantized), numpy(indices), gradient, *weights_of(quantizer)])
    for clean, other in zip(*results, strict=True):
        np.testing.assert_array_equal(clean, other)
    quantized, indices, gradient = results[0][:3]
    assert (quantized[~mask] == 0).all()
    assert (gradient[~mask] == 0).all()
    quantizer = built(case)
    encoded = numpy(quantizer.encode(vectors, mask))
    assert (numpy(quantizer.decode(encoded))[~mask] == 0).all()
    if quantizer._has_codes_per_vector:
        assert (indices[~mask] == -1).all()
        assert (encoded[~mask] == -1).all()


def _loss(layer, inputs, mask):
    layer(inputs, mask=mask)
    # Depends on the inputs even if the layer has no loss.
    nothing = 0.0 * ops.sum(ops.where(ops.isnan(inputs), 0.0, inputs))
    return sum(layer.losses, start=nothing)


def test_mask_gives_the_loss_of_the_vectors_it_keeps(case, vectors, rng):
    quantizer = built(case)
    if not quantizer._has_codes_per_vector:
        pytest.skip("vectors do not stand alone")
    mask = rng.permutation(np.arange(75) < 25).reshape(vectors.shape[:-1])
    masked = numpy(_loss(quantizer, vectors, mask))
    # Three times each, because JAX compiles operations for each shape.
    alone = numpy(_loss(quantizer, np.tile(vectors[mask], (3, 1)).reshape(vectors.shape), None))
    np.testing.assert_allclose(masked, alone, rtol=1e-5, atol=1e-6)


def test_a_mask_of_nothing_gives_no_loss_and_leaves_codes(case, vectors):
    quantizer = built(case)
    before = numpy(quantizer(vectors)[0])
    quantizer(vectors, mask=np.zeros(vectors.shape[:-1], bool), training=True)
    if case.has_loss_of_vectors:
        assert float(loss_of(quantizer)) == 0
    assert all(np.isfinite(weight).all() for weight in weights_of(quantizer))
    if case.id != "ema_bias_correction":  # its EMA is still empty
        np.testing.assert_allclose(numpy(quantizer(vectors)[0]), before, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_batch_that_is_not_finite_leaves_the_state(case, vectors, value):
    quantizer = built(case)
    quantizer(vectors, training=True)
    before = weights_of(quantizer)
    spoiled = vectors.copy()
    spoiled[1, 2, 3, 0] = value
    quantizer(spoiled, training=True)
    assert_same_weights(before, weights_of(quantizer))
    quantizer(vectors[::-1], training=True)
    assert learned((before, weights_of(quantizer))) == case.learns_by_statistics
    assert all(np.isfinite(weight).all() for weight in weights_of(quantizer))


@pytest.mark.parametrize("shape", [(0, DIM), (0, 5, 5, DIM)])
def test_empty_batches(case, shape):
    quantizer = case.build()
    if not case.is_typical and len(shape) == 2:
        pytest.skip("takes any rank as another case")
    if not quantizer._has_codes_per_vector and len(shape) == 2:
        pytest.skip("takes one grid")
    quantizer.build((None, *shape[1:]))
    before = weights_of(quantizer)
    inputs = np.zeros(shape, "float32")
    output_shape, _compute_codes_shape = quantizer.compute_output_shape(shape)
    for arguments in (
        {},
        {"training": True},
        {"training": True, "mask": np.ones(shape[:-1], bool)},
    ):
        quantized, indices = quantizer(inputs, **arguments)
        assert (tuple(quantized.shape), tuple(indices.shape)) == (
            output_shape,
            _compute_codes_shape,
        )
        if case.has_loss_of_vectors:
            assert float(loss_of(quantizer)) == 0
    encoded = quantizer.encode(inputs)
    assert tuple(encoded.shape) == _compute_codes_shape
    assert keras.backend.standardize_dtype(encoded.dtype) == "int32"
    decoded = quantizer.decode(encoded)
    assert tuple(decoded.shape) == output_shape
    assert keras.backend.standardize_dtype(decoded.dtype) == "float32"
    assert_same_weights(before, weights_of(quantizer))


def test_wrong_rank_of_mask(case, vectors):
    with pytest.raises(ValueError, match=r"shape of the inputs without their last axis"):
        built(case)(vectors, mask=np.ones((3,), bool))


@pytest.mark.parametrize("shape", [(4,), (3, None)])
def test_shapes_it_cannot_quantize(case, shape):
    with pytest.raises(ValueError, match=r"must have the shape \(..., dim\)"):
        case.build().build(shape)


@pytest.mark.parametrize("dim", [1, 2 * DIM])
def test_vectors_of_another_dimension(case, dim):
    quantizer = built(case)
    before = weights_of(quantizer)
    vectors = np.zeros((2, 5, 5, dim), "float32")
    for method in (quantizer, quantizer.encode, lambda x: quantizer(keras.KerasTensor(x.shape))):
        with pytest.raises(ValueError, match=rf"must have 4 channels.*shape \(2, 5, 5, {dim}\)"):
            method(vectors)
    # A combinator that is not built yet checks the quantizers that it is given.
    combinators = [lambda: keras_vq.ProjectedQuantizer(quantizer, dim)]
    if quantizer._has_codes_per_vector:
        kinds = (keras_vq.ResidualQuantizer, keras_vq.ProductQuantizer)
        combinators += [lambda kind=kind: kind([quantizer]) for kind in kinds]
    for combinator in combinators:
        with pytest.raises(ValueError, match="must have 4 channels"):
            combinator().build((None, 5, 5, dim))
    assert_same_weights(before, weights_of(quantizer))


def test_decoding_before_the_first_vectors(case):
    quantizer = case.build()
    codes = np.zeros((2, 35, *quantizer.code_shape), "int32")
    if case.decodes_unbuilt:
        assert quantizer.decode(codes).shape[-1] == DIM
        return
    with pytest.raises(ValueError, match=r"Call it on vectors, or call `build\(\(None, dim"):
        quantizer.decode(codes)


def test_decoding_of_arrays_that_hold_no_codes(case, vectors):
    quantizer = built(case)
    codes = numpy(quantizer.encode(vectors))
    quantizer.decode(np.full_like(codes, -1))
    for bad in (np.full_like(codes, max(quantizer.codebook_sizes)), codes - 2 - codes.max()):
        for indices in (bad, bad.tolist()):
            with pytest.raises(ValueError, match=r"`codes` must be integers from 0 to .*-1"):
                quantizer.decode(indices)
    with pytest.raises(ValueError, match=r"`codes` must be integers.*Received: float32"):
        quantizer.decode(codes.astype("float32"))


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e4])
def test_vectors_that_are_all_equal(case, value):
    quantizer = built(case)
    inputs = np.full((3, 5, 5, DIM), value, "float32")
    for training in (False, True, True, True):
        quantized, _ = quantizer(inputs, training=training)
        assert np.isfinite(numpy(quantized)).all()
    (gradient,) = gradients(lambda x: ops.sum(quantizer(x)[0]) + _loss(quantizer, x, None), inputs)
    assert np.isfinite(gradient).all()
    assert all(np.isfinite(weight).all() for weight in weights_of(quantizer))


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    hnp.arrays(
        "float32",
        (3, 5, 5, DIM),  # as in other tests, because JAX compiles operations for each shape
        elements=st.floats(-1e4, 1e4, width=32),
    )
)
def test_any_finite_vectors(case, inputs):
    quantizer = built(case)
    quantized, indices = quantizer(inputs, training=True)
    assert np.isfinite(numpy(quantized)).all()
    assert numpy(indices).min() >= (-1 if case.id == "residual_dropout" else 0)
    again, indices = quantizer(inputs)
    np.testing.assert_array_equal(numpy(quantizer.decode(indices)), numpy(again))
    assert all(np.isfinite(weight).all() for weight in weights_of(quantizer))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_keeps_state_and_statistics_in_float32(case, vectors, policy):
    keras.config.set_dtype_policy(policy)
    half = keras.dtype_policies.get(policy).compute_dtype
    quantizer = built(case)
    reference_inputs = numpy(ops.cast(ops.cast(vectors, half), "float32"))
    quantized, indices = quantizer(ops.cast(vectors, half), training=True)
    assert keras.backend.standardize_dtype(quantized.dtype) == half
    keras.config.set_dtype_policy("float32")

    assert {weight.dtype for weight in quantizer.weights} <= {"float32", "uint32", "int32"}
    keras.utils.set_random_seed(0)
    reference = built(case)
    _, expected = reference(reference_inputs, training=True)
    np.testing.assert_array_equal(numpy(indices), numpy(expected))
    for ours, theirs in zip(weights_of(quantizer), weights_of(reference), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_same_seed_same_codes(case, vectors):
    results = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        quantizer = built(case)
        quantizer(vectors, training=True)
        results.append(weights_of(quantizer))
    assert_same_weights(*results)


def test_config_round_trip(case, vectors):
    quantizer = built(case)
    config = keras.saving.serialize_keras_object(quantizer)
    copy = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(copy) == config
    assert copy.built  # the configuration includes the build shape
    copy.set_weights(quantizer.get_weights())
    np.testing.assert_array_equal(numpy(copy(vectors)[0]), numpy(quantizer(vectors)[0]))


def test_functional_model_trains_and_comes_back_from_a_file(case, vectors, tmp_path):
    inputs = keras.Input((5, 5, DIM))
    quantizer = case.build()
    vectors_layer = keras.layers.Dense(DIM) if case.passes_gradient else keras.layers.Identity()
    quantized, indices = quantizer(vectors_layer(inputs))
    model = keras.Model(inputs, [keras.layers.Dense(DIM)(quantized), indices])
    # XLA compiles for seconds on TensorFlow.
    jit_compile = "auto" if BACKEND != "tensorflow" or case.is_typical else False
    model.compile(keras.optimizers.SGD(0.1), loss=["mse", None], jit_compile=jit_compile)
    before = weights_of(quantizer)
    logs = model.fit(vectors, vectors, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(logs).all()
    learns = case.learns_by_statistics or case.learns_by_gradient
    assert learned((before, weights_of(quantizer))) == learns

    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    for ours, theirs in zip(
        model.predict(vectors, verbose=0), copy.predict(vectors, verbose=0), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
