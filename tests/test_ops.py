"""Tests of `keras_vq.ops` against NumPy."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from sklearn.metrics import pairwise_distances_argmin

from keras_vq import _search, backend
from keras_vq import ops as vq_ops
from keras_vq._export_mode import export_mode
from tests.gradients import gradients


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def test_squared_distances(rng):
    x, e = rng.normal(size=(7, 3)).astype("float32"), rng.normal(size=(5, 3)).astype("float32")
    expected = ((x[:, None] - e[None]) ** 2).sum(-1)
    np.testing.assert_allclose(numpy(vq_ops.squared_distances(x, e)), expected, rtol=1e-4)


def test_squared_distances_are_never_negative(rng):
    x = (1000 + rng.normal(size=(50, 3))).astype("float32")
    assert numpy(vq_ops.squared_distances(x, x)).min() >= 0


# Sizes around changes of the group size and of the number of row blocks.
@pytest.mark.parametrize("codebook_size", [1, 2, 31, 32, 33, 64, 511, 1000])
@pytest.mark.parametrize("count", [1, 5, 3000])
def test_nearest_code_is_that_of_scikit_learn(rng, count, codebook_size):
    x = rng.normal(size=(count, 6)).astype("float32")
    e = rng.normal(size=(codebook_size, 6)).astype("float32")
    indices = numpy(vq_ops.nearest_code(x, e))
    assert indices.dtype == np.int32
    expected = pairwise_distances_argmin(x.astype("float64"), e.astype("float64"))
    np.testing.assert_array_equal(indices, expected)


def test_lowest_index_wins_a_tie():
    codes = np.array([[5.0], [1.0], [1.0], [-1.0]] + [[1.0]] * 60, "float32")
    indices = numpy(vq_ops.nearest_code(np.array([[1.0], [0.9], [-1.0], [0.0]], "float32"), codes))
    assert indices.tolist() == [1, 1, 3, 1]


def best_by_columns(scores, group_size):
    return _search.best_of_columns(ops.convert_to_tensor(scores.T.copy()), group_size)


def best_by_rows(scores, group_size):
    groups = scores.reshape(len(scores), -1, group_size)
    first_ones_first = groups.transpose(0, 2, 1).reshape(scores.shape)
    return _search.best_of_rows(ops.convert_to_tensor(first_ones_first), group_size)


WAYS = pytest.mark.parametrize("way", [best_by_columns, best_by_rows])


@WAYS
@pytest.mark.parametrize(("count", "group_size"), [(32, 1), (64, 2), (1024, 16), (48, 16), (7, 7)])
def test_best_score_is_that_of_argmax(rng, way, count, group_size):
    scores = rng.integers(0, 50, size=(40, count)).astype("float32")  # with many ties
    scores[1] = 7.0
    indices, best = way(scores, group_size)
    assert keras.backend.standardize_dtype(indices.dtype) == "int32"
    np.testing.assert_array_equal(numpy(indices), scores.argmax(1))
    np.testing.assert_array_equal(numpy(best), scores.max(1))


@WAYS
def test_scores_that_are_not_numbers_give_an_index(way):
    indices, _ = way(np.full((2, 64), np.nan, "float32"), 16)
    assert numpy(indices).tolist() == [0, 0]


def test_products_into_the_same_memory_are_products(rng):
    matmul = backend.buffered_matmul()
    for shape in ((3, 4, 5), (3, 4, 5), (2, 4, 6)):  # the last product has another size
        left, right = rng.normal(size=shape[:2]), rng.normal(size=shape[1:])
        for dtype, tolerance in (("float32", 1e-5), ("float16", 0.02)):
            found = matmul(
                ops.convert_to_tensor(left, "float32"), ops.convert_to_tensor(right, dtype)
            )
            np.testing.assert_allclose(numpy(found), left @ right, rtol=0, atol=tolerance)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="gets its memory from the system")
def test_products_into_the_same_memory_share_it(rng):
    matmul = backend.buffered_matmul()
    left, right = (
        ops.convert_to_tensor(rng.normal(size=(4, 4)).astype("float32")) for _ in range(2)
    )
    assert matmul(left, right).data_ptr() == matmul(right, left).data_ptr()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others always or never do")
def test_xla_is_noticed(rng):
    """Checks loops, inner functions and training steps of Keras models."""
    import tensorflow as tf

    noticed = []

    def note(x):
        noticed.append(backend.has_operator_fusion())
        return x

    x = rng.normal(size=(4, 2)).astype("float32")
    for compiled in (True, False):
        inner = tf.function(lambda x: tf.map_fn(note, x))
        tf.function(lambda x, inner=inner: inner(note(x)), jit_compile=compiled)(x)
        model = keras.Sequential([keras.layers.Lambda(note), keras.layers.Dense(1)])
        model.compile("sgd", "mse", jit_compile=compiled)
        model.fit(x, x[:, :1], verbose=0)
        assert set(noticed) == {compiled}
        noticed.clear()
    assert not backend.has_operator_fusion()


def squared_distances_in_float64(vectors, codes):
    differences = vectors[:, None].astype("float64") - codes.astype("float64")
    return (differences**2).sum(-1)


def excess(vectors, codes, indices):
    """Computes excess squared distances over the minimum, minus the rounding tolerance."""
    distances = squared_distances_in_float64(vectors, codes)
    found = np.take_along_axis(distances, indices[:, None].astype("int64"), axis=1)[:, 0]
    nearest = distances.min(1)
    # The relative rounding error of inputs is at most 2^-24.
    sizes = np.linalg.norm(vectors.astype("float64"), axis=1)
    sizes = sizes + np.linalg.norm(codes[indices].astype("float64"), axis=1)
    return found - nearest - 4 * 2.0**-24 * (np.sqrt(nearest) * sizes + nearest)


SEARCHES = {
    "nearest_code": vq_ops.nearest_code,
    "nearest_codes": lambda x, e: vq_ops.nearest_codes(x, e, 2)[:, 0],
    "squared_distances": lambda x, e: ops.argmin(vq_ops.squared_distances(x, e), axis=1),
    "sample_code": lambda x, e: vq_ops.sample_code(
        x, e, np.full(len(x), 0.5, "float32"), max(1e-9 * float(np.ptp(e)) ** 2, 1e-20)
    ),
    "export_mode": lambda x, e: _in_one_block(x, e),
}


def _in_one_block(vectors, codes):
    with export_mode():
        return vq_ops.nearest_code(vectors, codes)


OFFSETS = (0, 1, 10, -100, 1000, 1e4)


@pytest.mark.parametrize("search", SEARCHES)
def test_codes_with_a_common_offset_are_the_nearest(rng, search):
    normal_vectors, normal_codes = rng.normal(size=(200, 8)), rng.normal(size=(64, 8))
    for offset in OFFSETS:
        for scale in (1e-4, 1.0, 1e4):
            vectors, codes = (
                (scale * normal + offset).astype("float32")
                for normal in (normal_vectors, normal_codes)
            )
            indices = numpy(SEARCHES[search](vectors, codes))
            farthest = excess(vectors, codes, indices).max()
            assert farthest <= 0, (offset, scale, farthest)


@pytest.mark.parametrize("spoiled", ["unused_codes", "an_outlier", "offset_of_each_dimension"])
def test_codes_with_an_offset_and_others_without_are_the_nearest(rng, spoiled):
    vectors, codes = rng.normal(size=(200, 8)), rng.normal(size=(64, 8))
    offset = 1000 * rng.normal(size=8) if spoiled == "offset_of_each_dimension" else 1000
    vectors, codes = (vectors + offset).astype("float32"), (codes + offset).astype("float32")
    if spoiled == "unused_codes":
        codes[rng.permutation(64)[:10]] = 0
    elif spoiled == "an_outlier":
        codes[20] = 1e6
    assert excess(vectors, codes, numpy(vq_ops.nearest_code(vectors, codes))).max() <= 0


def test_distances_of_codes_with_an_offset(rng):
    vectors = (1000 + rng.normal(size=(20, 4))).astype("float32")
    codes = (1000 + rng.normal(size=(30, 4))).astype("float32")
    expected = squared_distances_in_float64(vectors, codes)
    np.testing.assert_allclose(
        numpy(vq_ops.squared_distances(vectors, codes)), expected, rtol=1e-5, atol=1e-5
    )


def test_center_of_codes(rng):
    for codebook_size in (2, 7, 1000):
        codes = rng.normal(size=(codebook_size, 300)).astype("float32")
        shifted = codes - np.median(codes, axis=0)
        assert (numpy(_search.code_center(np.concatenate([codes, -codes]))) == 0).all()
        center = numpy(_search.code_center(shifted + np.float32(4096)))
        assert abs(center - 4096).max() < 8
    assert (
        numpy(_search.code_center(np.array([[0.1, 1e4]], "float32"))).tolist()
        == [[np.float32(0.1), 1e4]][0]
    )


def test_whole_numbers_far_from_zero_keep_their_ties():
    """Codes on a grid: the center has few digits, so that ties remain exact."""
    codes = np.array([[203.0], [201.0], [205.0], [207.0], [199.0]], "float32")
    vectors = np.array([[202.0], [204.0], [206.0], [200.0]], "float32")
    assert numpy(vq_ops.nearest_code(vectors, codes)).tolist() == [0, 0, 2, 1]


@pytest.mark.parametrize("codes_at_a_time", [32, 64, 1000])
def test_search_holds_a_bounded_block_of_scores(rng, monkeypatch, codes_at_a_time):
    """Blocks of vectors and code vectors give the same indices."""
    x = rng.normal(size=(100, 4)).astype("float32")
    e = rng.normal(size=(100, 4)).astype("float32")
    e[90] = e[3]  # a tie between two blocks
    x[7] = e[3]
    expected = pairwise_distances_argmin(x.astype("float64"), e.astype("float64"))
    assert expected[7] == 3

    shapes = []

    def spy(best_of):
        def called(scores, group_size):
            shapes.append(tuple(sorted(scores.shape)))
            return best_of(scores, group_size)

        return called

    blocks = backend.SearchBlocks(codes_at_a_time, scores=1)
    for name in ("best_of_columns", "best_of_rows"):
        monkeypatch.setattr(_search, name, spy(getattr(_search, name)))
    monkeypatch.setattr(_search.backend, "search_blocks", lambda shape: blocks)
    monkeypatch.setattr(_search, "_LEAST_ROWS_PER_BLOCK", 16)
    np.testing.assert_array_equal(numpy(vq_ops.nearest_code(x, e)), expected)
    # 100 codes form groups of three, distributed evenly over blocks.
    assert set(shapes) == {(16, {32: 27, 64: 51, 1000: 102}[codes_at_a_time])}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a batch of unknown size")
def test_search_takes_a_batch_of_unknown_size(rng):
    import tensorflow as tf

    codes = rng.normal(size=(16_384, 4)).astype("float32")  # two blocks of codes
    function = tf.function(
        lambda x: vq_ops.nearest_code(x, codes),
        input_signature=[tf.TensorSpec((None, 4), tf.float32)],
    )
    for count in (1, 127, 128, 129, 500):
        x = rng.normal(size=(count, 4)).astype("float32")
        expected = pairwise_distances_argmin(x.astype("float64"), codes.astype("float64"))
        np.testing.assert_array_equal(function(x).numpy(), expected)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=50), st.integers(0, 2**32 - 1))
def test_counts_and_sums_are_those_of_one_hot_products(indices, seed):
    rng = np.random.default_rng(seed)
    indices = np.array(indices, "int32")
    x = rng.normal(size=(len(indices), 3)).astype("float32")
    weights = (rng.random(len(indices)) < 0.7).astype("float32")
    one_hot = np.eye(10)[indices] * weights[:, None]
    counts = numpy(vq_ops.code_counts(indices, 10, weights))
    sums = numpy(vq_ops.code_sums(x, indices, 10, weights))
    np.testing.assert_allclose(counts, one_hot.sum(0), atol=1e-6)
    np.testing.assert_allclose(sums, one_hot.T @ x, atol=1e-5)


def test_counts_and_sums_without_weights(rng):
    indices = np.array([2, 2, 0], "int32")
    x = rng.normal(size=(3, 2)).astype("float32")
    np.testing.assert_array_equal(numpy(vq_ops.code_counts(indices, 4)), [1, 0, 2, 0])
    sums = numpy(vq_ops.code_sums(x, indices, 4))
    np.testing.assert_allclose(sums, [x[2], [0, 0], x[0] + x[1], [0, 0]], rtol=1e-6)


def test_perplexity_is_the_exponential_of_the_entropy(rng):
    counts = rng.integers(0, 20, 64).astype("float32")
    counts[:8] = 0
    p = counts[counts > 0] / counts.sum()
    expected = np.exp(-(p * np.log(p)).sum())
    np.testing.assert_allclose(numpy(vq_ops.perplexity(counts)), expected, rtol=1e-5)
    np.testing.assert_allclose(numpy(vq_ops.perplexity(np.full(64, 3, "float32"))), 64, rtol=1e-5)
    assert float(numpy(vq_ops.perplexity(np.zeros(64, "float32")))) == 1


def test_masked_mean():
    values = np.array([1.0, 2.0, np.nan, 6.0], "float32")
    mask = np.array([True, False, False, True])
    assert float(numpy(vq_ops.masked_mean(values, mask))) == 3.5
    assert float(numpy(vq_ops.masked_mean(values[:2], None))) == 1.5
    assert float(numpy(vq_ops.masked_mean(values, np.zeros(4, bool)))) == 0


def test_nearest_codes_are_those_of_a_sort(rng, monkeypatch):
    monkeypatch.setattr(_search, "SCORES_PER_BLOCK", 200)  # several blocks, the last one padded
    vectors = rng.normal(size=(37, 5)).astype("float32")
    codes = rng.normal(size=(20, 5)).astype("float32")
    distances = ((vectors[:, None].astype("float64") - codes) ** 2).sum(-1)
    indices = numpy(vq_ops.nearest_codes(vectors, codes, 4))
    np.testing.assert_array_equal(indices, np.argsort(distances, axis=1)[:, :4])
    assert indices.dtype == np.int32


def test_codes_are_drawn_with_the_probabilities_of_their_distances(rng, monkeypatch):
    monkeypatch.setattr(_search, "SCORES_PER_BLOCK", 5_000)
    codes = np.array([[0.0], [1.0], [3.0]], "float32")
    vectors = np.full((20_000, 1), 0.4, "float32")
    uniforms = rng.random(20_000).astype("float32")
    drawn = numpy(vq_ops.sample_code(vectors, codes, uniforms, temperature=0.5))
    weights = np.exp(-((0.4 - codes[:, 0].astype("float64")) ** 2) / 0.5)
    share = np.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.01)


def test_draws_at_a_temperature_near_zero_are_the_nearest_codes(rng):
    vectors = rng.normal(size=(50, 4)).astype("float32")
    codes = rng.normal(size=(8, 4)).astype("float32")
    uniforms = rng.random(50).astype("float32")
    drawn = numpy(vq_ops.sample_code(vectors, codes, uniforms, temperature=1e-6))
    np.testing.assert_array_equal(drawn, numpy(vq_ops.nearest_code(vectors, codes)))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e25])
def test_unit_vectors_of_any_size(scale, rng):
    vectors = (rng.normal(size=(9, 4)) * scale).astype("float32")
    unit = numpy(vq_ops.unit_vectors(vectors))
    expected = vectors / np.linalg.norm(vectors.astype("float64"), axis=1, keepdims=True)
    np.testing.assert_allclose(unit, expected, rtol=1e-5)
    zeros = np.zeros((2, 3), "float32")
    (gradient,) = gradients(lambda x: ops.sum(vq_ops.unit_vectors(x)), zeros)
    assert np.isfinite(gradient).all()
    assert (numpy(vq_ops.unit_vectors(zeros)) == 0).all()
