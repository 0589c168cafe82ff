"""Tests of combinators against separate calls of their quantizers."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from keras_vq.quantizers.multi_scale_quantizer import area_matrix, bicubic_matrix
from tests.gradients import gradients


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.fixture
def vectors(rng):
    return rng.normal(size=(6, 9, 4)).astype("float32")


def stages(*sizes, **options):
    return [keras_vq.VectorQuantizer(size, **options) for size in sizes]


def loss_of(quantizer, inputs, mask=None):
    quantizer(inputs, mask=mask)
    return float(numpy(sum(quantizer.losses, start=0.0)))


# --- Residual


def test_residual_is_its_stages_one_after_the_other(vectors):
    quantizer = keras_vq.ResidualQuantizer(stages(16, 8, 4))
    quantized, indices = quantizer(vectors)
    left, total, loss = vectors, 0, 0
    for stage, part in enumerate(quantizer.quantizers):
        codes, chosen = part(left)
        np.testing.assert_array_equal(numpy(indices)[..., stage], numpy(chosen))
        loss += float(numpy(sum(part.losses, start=0.0)))
        left, total = left - numpy(codes), total + numpy(codes)
    np.testing.assert_allclose(numpy(quantized), total, rtol=1e-6, atol=1e-6)
    assert loss_of(quantizer, vectors) == pytest.approx(loss, rel=1e-5)
    one = numpy(quantizer.decode(_first(numpy(indices), 1)))
    np.testing.assert_array_equal(one, numpy(quantizer.quantizers[0](vectors)[0]))


def _first(indices, count):
    """Replaces the indices of all but the first `count` stages with -1."""
    return np.where(np.arange(indices.shape[-1]) < count, indices, -1).astype("int32")


def test_commitment_of_every_stage_reaches_the_input(vectors):
    """The input gradient is the sum of the commitment gradients of all stages."""
    quantizer = keras_vq.ResidualQuantizer(stages(16, 8, commitment_weight=1.0))
    quantizer.build(vectors.shape)

    def loss(x):
        quantizer(x)
        return sum(quantizer.losses, start=0.0)

    (gradient,) = gradients(loss, vectors)
    indices = numpy(quantizer.encode(vectors))
    expected = sum(
        2 / vectors.size * (vectors - numpy(quantizer.decode(_first(indices, count))))
        for count in (1, 2)
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


def test_dropout_leaves_first_stages_of_some_examples(rng):
    quantizer = keras_vq.ResidualQuantizer(stages(8, 8, 8), dropout=0.5, seed=0)
    inputs = rng.normal(size=(600, 2, 4)).astype("float32")
    quantized, indices = quantizer(inputs, training=True)
    kept = (numpy(indices) >= 0).sum(-1)
    assert (kept[:, 0] == kept[:, 1]).all()  # per example
    shares = np.bincount(kept[:, 0], minlength=4) / 600
    # Half keep all stages; of the others, a third each keeps 1, 2 or 3.
    np.testing.assert_allclose(shares, [0, 1 / 6, 1 / 6, 2 / 3], atol=0.06)
    again = numpy(quantizer(inputs, training=False)[1])
    assert (again >= 0).all()
    assert np.isfinite(numpy(quantized)).all()


def test_a_shared_codebook_learns_once_from_all_stages(vectors):
    codebook = keras_vq.EMACodebook(8, decay=0.9)
    shared = keras_vq.VectorQuantizer(codebook=codebook)
    quantizer = keras_vq.ResidualQuantizer([shared] * 3)
    quantizer.build(vectors.shape)
    counts, sums = np.ones(8), numpy(codebook.code_vectors()).copy()
    left, batch_counts, batch_sums = vectors.reshape(-1, 4), np.zeros(8), np.zeros((8, 4))
    codes = numpy(codebook.code_vectors()).copy()
    for stage in range(3):
        chosen = numpy(quantizer.encode(vectors))[..., stage].ravel()
        batch_counts += np.bincount(chosen, minlength=8)
        np.add.at(batch_sums, chosen, left)
        left = left - codes[chosen]
    quantizer(vectors, training=True)
    counts, sums = 0.9 * counts + 0.1 * batch_counts, 0.9 * sums + 0.1 * batch_sums
    np.testing.assert_allclose(numpy(codebook.ema_counts), counts, rtol=1e-5)
    np.testing.assert_allclose(numpy(codebook.ema_sums), sums, rtol=1e-4, atol=1e-5)


def test_beam_search_finds_closer_sums(rng):
    inputs = rng.normal(size=(400, 4)).astype("float32")
    parts = stages(16, 16, 16)
    quantizer = keras_vq.ResidualQuantizer(parts)
    quantizer.adapt(inputs)
    greedy = np.square(inputs - numpy(quantizer(inputs)[0])).sum(-1)
    errors = {1: greedy.mean()}
    for beam in (2, 16):
        quantized = numpy(keras_vq.ResidualQuantizer(parts, beam_size=beam)(inputs)[0])
        errors[beam] = np.square(inputs - quantized).sum(-1).mean()
    assert errors[16] < errors[2] < errors[1]


def test_full_beam_is_exhaustive_search(rng):
    inputs = rng.normal(size=(50, 2)).astype("float32")
    quantizer = keras_vq.ResidualQuantizer(stages(4, 4), beam_size=16)
    quantized, _ = quantizer(inputs)
    every = np.stack(np.meshgrid(np.arange(4), np.arange(4)), axis=-1).reshape(-1, 2)
    sums = numpy(quantizer.decode(every.astype("int32")))
    best = ((inputs[:, None] - sums) ** 2).sum(-1).min(1)
    # The beam keeps all 4 codes of the first stage.
    np.testing.assert_allclose(np.square(inputs - numpy(quantized)).sum(-1), best, rtol=1e-4)


def test_adapt_places_stage_after_stage(rng):
    inputs = rng.normal(size=(500, 4)).astype("float32")
    quantizer = keras_vq.ResidualQuantizer(stages(16, 16))
    quantizer.adapt(inputs)
    left = inputs - numpy(quantizer.quantizers[0](inputs)[0])
    error = np.square(inputs - numpy(quantizer(inputs)[0])).mean()
    assert np.square(left).mean() < 0.5 * inputs.var()
    assert error < 0.6 * np.square(left).mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantizers": []}, "`quantizers` must be a non-empty list"),
        ({"quantizers": [keras.layers.Dense(2)]}, "`quantizers` must be a non-empty list"),
        ({"dropout": 1.5}, r"`dropout` must be a number in \[0, 1\]"),
        ({"beam_size": 0}, "`beam_size` must be a positive integer"),
        (
            {"quantizers": [keras_vq.FiniteScalarQuantizer([4, 4])], "beam_size": 2},
            "must have a method `nearest_codes`",
        ),
        (
            {"quantizers": stages(4, temperature=1.0), "beam_size": 2},
            "must have temperature 0",
        ),
        (
            {"quantizers": [keras_vq.VectorQuantizer(codebook=keras_vq.SGDCodebook(4, 1.0))] * 2},
            "must not repeat a quantizer with an SGDCodebook",
        ),
        (
            {"quantizers": [*stages(4), keras_vq.ResidualQuantizer(stages(4, 4))]},
            "must have the same `code_shape`",
        ),
        (
            {"quantizers": [keras_vq.MultiScaleQuantizer(stages(4)[0], [1, 2])]},
            "must return codes per vector",
        ),
    ],
)
def test_bad_residual_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        keras_vq.ResidualQuantizer(**{"quantizers": stages(4), **options})


def test_one_estimator_for_the_sum_has_its_own_gradients(vectors):
    """Synchronized passes the gradient once to the input, and a share to all codebooks."""
    parts = [keras_vq.VectorQuantizer(codebook=keras_vq.GradientCodebook(8)) for _ in range(2)]
    quantizer = keras_vq.ResidualQuantizer(parts, estimator=keras_vq.estimators.Synchronized(0.5))
    quantizer.build(vectors.shape)
    by_input, *by_codes = gradients(
        lambda x: ops.sum(quantizer(x)[0]), vectors, quantizer.trainable_weights
    )
    np.testing.assert_array_equal(by_input, np.ones_like(vectors))
    indices = numpy(quantizer.encode(vectors)).reshape(-1, 2)
    for stage, found in enumerate(by_codes):
        counts = np.bincount(indices[:, stage], minlength=8)
        np.testing.assert_allclose(found, 0.5 * np.repeat(counts[:, None], 4, axis=1), rtol=1e-5)


# --- Product


def test_product_is_its_parts_side_by_side(vectors):
    quantizer = keras_vq.ProductQuantizer(stages(16, 8))
    quantized, indices = quantizer(vectors)
    losses = []
    for place, part in enumerate(quantizer.quantizers):
        chunk = vectors[..., 2 * place : 2 * place + 2]
        codes, chosen = part(chunk)
        np.testing.assert_array_equal(numpy(quantized)[..., 2 * place : 2 * place + 2], codes)
        np.testing.assert_array_equal(numpy(indices)[..., place], numpy(chosen))
        losses.append(float(numpy(sum(part.losses, start=0.0))))
    assert loss_of(quantizer, vectors) == pytest.approx(np.mean(losses), rel=1e-5)


def test_product_of_vectors_that_cannot_be_split(vectors):
    with pytest.raises(ValueError, match="must be a multiple of 3"):
        keras_vq.ProductQuantizer(stages(4, 4, 4))(vectors)


# --- Projected


def test_projections_learn_from_both_sides(vectors):
    quantizer = keras_vq.ProjectedQuantizer(stages(16)[0], 2)
    quantizer.build(vectors.shape)
    found = gradients(
        lambda x: ops.sum(ops.square(quantizer(x)[0])), vectors, quantizer.trainable_weights
    )
    assert len(found) == 5
    assert all(np.abs(gradient).max() > 0 for gradient in found)


def test_projection_back_of_the_wrong_size(vectors):
    quantizer = keras_vq.ProjectedQuantizer(stages(16)[0], 2, project_out=keras.layers.Dense(3))
    with pytest.raises(ValueError, match="`_project_out` must return the shape of the inputs"):
        quantizer(vectors)


# --- MultiScale


def test_multi_scale_is_its_scales_one_after_the_other(rng):
    inputs = rng.normal(size=(2, 4, 4, 3)).astype("float32")
    part = keras_vq.VectorQuantizer(codebook=keras_vq.GradientCodebook(16), commitment_weight=0.0)
    quantizer = keras_vq.MultiScaleQuantizer(part, scales=[1, 2, 4], num_phi=0)
    quantized, indices = quantizer(inputs)
    left, total, start = inputs.astype("float64"), 0, 0
    for size in (1, 2, 4):
        area, up = area_matrix(4, size), bicubic_matrix(size, 4)
        cells = np.einsum("ah,bw,nhwc->nabc", area, area, left)
        chosen = numpy(part.encode(cells.astype("float32")))
        np.testing.assert_array_equal(
            numpy(indices)[:, start : start + size**2], chosen.reshape(2, -1)
        )
        grown = np.einsum("ha,wb,nabc->nhwc", up, up, numpy(part.decode(chosen)))
        left, total, start = left - grown, total + grown, start + size**2
    np.testing.assert_allclose(numpy(quantized), total, rtol=1e-5, atol=1e-5)
    grids = quantizer.decode_scales(indices)
    np.testing.assert_array_equal(numpy(grids[-1]), numpy(quantizer.decode(indices)))
    assert len(grids) == 3


@pytest.mark.parametrize("grid", [(8,), (4, 8), (2, 4, 4)])
def test_multi_scale_takes_grids_of_one_to_three_axes(grid, rng):
    inputs = rng.normal(size=(2, *grid, 3)).astype("float32")
    scales = [tuple(max(1, size // 2) for size in grid), grid]
    quantizer = keras_vq.MultiScaleQuantizer(stages(16)[0], scales=scales, num_phi=1)
    quantized, indices = quantizer(inputs)
    assert tuple(quantized.shape) == inputs.shape
    tokens = sum(int(np.prod(scale)) for scale in scales)
    assert tuple(indices.shape) == (2, tokens)
    assert quantizer.bits_per_vector == pytest.approx(4 * tokens / np.prod(grid))


def test_multi_scale_is_placed_by_the_cells_of_all_scales(rng):
    inputs = rng.normal(size=(60, 4, 4, 3)).astype("float32") + 5
    quantizer = keras_vq.MultiScaleQuantizer(stages(32)[0], scales=[1, 2, 4], num_phi=0)
    before = np.square(inputs - numpy(quantizer(inputs)[0])).mean()
    quantizer.adapt(inputs)
    after = np.square(inputs - numpy(quantizer(inputs)[0])).mean()
    assert after < 0.5 < 5 < before


def test_a_cell_averages_what_the_mask_keeps(rng):
    inputs = rng.normal(size=(1, 4, 3)).astype("float32")
    mask = np.array([[True, False, True, True]])
    quantizer = keras_vq.MultiScaleQuantizer(stages(16)[0], scales=[2, 4], num_phi=0)
    quantizer.build(inputs.shape)
    _, indices = quantizer(inputs, mask=mask)
    means = np.stack([inputs[0, 0], inputs[0, 2:].mean(0)])
    np.testing.assert_array_equal(
        numpy(indices)[0, :2], numpy(quantizer.quantizer.encode(means.astype("float32")))
    )
    assert numpy(indices)[0, 3] == -1


@pytest.mark.parametrize(
    ("scales", "shape", "message"),
    [
        ([], (1, 4, 4, 2), "`scales` must be a list"),
        (4, (1, 4, 4, 2), "`scales` must be a list"),
        ([1, 2], (1, 4, 4, 2), "last entry of `scales` must be the grid"),
        ([1, 4], (5, 2), "one to three grid axes"),
        ([0, 4], (1, 4, 4, 2), "`scales` must be a positive integer"),
    ],
)
def test_bad_scales(scales, shape, message):
    with pytest.raises(ValueError, match=message):
        keras_vq.MultiScaleQuantizer(stages(4)[0], scales=scales).build(shape)
