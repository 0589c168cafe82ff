"""Tests of the Pallas search kernel in the interpreter, and of its GPU lowering."""

import functools

import keras
import numpy as np
import pytest
from sklearn.metrics import pairwise_distances_argmin

if keras.backend.backend() != "jax":
    pytest.skip("a kernel of JAX", allow_module_level=True)

import jax
import jax.numpy as jnp

from keras_vq import _search, backend
from keras_vq import ops as vq_ops
from keras_vq.backend.fused_search import by_pallas, choice

interpreted = functools.partial(by_pallas.search, interpret=True)


# Sizes below, at and above the block sizes.
@pytest.mark.parametrize(
    ("count", "codebook_size", "dim"), [(1, 1, 1), (64, 64, 32), (100, 65, 33), (65, 1000, 100)]
)
def test_kernel_finds_the_codes_that_scikit_learn_finds(rng, count, codebook_size, dim):
    vectors = rng.normal(size=(count, dim)).astype("float32")
    codes = rng.normal(size=(codebook_size, dim)).astype("float32")
    indices = np.asarray(interpreted(vectors, codes))
    assert indices.dtype == np.int32
    expected = pairwise_distances_argmin(vectors.astype("float64"), codes.astype("float64"))
    np.testing.assert_array_equal(indices, expected)


def test_lowest_index_wins_a_tie_of_two_tiles_and_of_one(rng):
    codes = rng.normal(size=(200, 5)).astype("float32")
    codes[[7, 70, 71]] = codes[3]
    assert interpreted(codes[[3, 71]], codes).tolist() == [3, 3]


def test_kernel_is_translated_for_a_gpu(rng):
    vectors, codes = np.zeros((100, 48), "float32"), np.zeros((1000, 48), "float32")
    exported = jax.export.export(
        jax.jit(by_pallas.search),
        platforms=["cuda"],
        disabled_checks=[jax.export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")],
    )(vectors, codes)
    assert "__gpu$xla.gpu.triton" in exported.mlir_module()


@pytest.fixture
def sets(rng):
    vectors = rng.normal(size=(choice.LEAST_SCORES // 64, 4)).astype("float32")
    return vectors, rng.normal(size=(64, 4)).astype("float32")


@pytest.mark.parametrize("best", ["fused", "by blocks"])
def test_the_best_is_tried_once_for_a_size_and_taken(sets, monkeypatch, best):
    vectors, codes = sets
    fused_calls, trials = [], []

    def fused(vectors, codes):
        fused_calls.append(vectors.shape)
        return interpreted(vectors, codes)

    def fastest(searches, vectors, codes, wait):
        trials.append(wait(searches[best](vectors, codes)).shape)  # fails if the search is traced
        return best

    monkeypatch.setattr(choice, "fastest", fastest)
    search = by_pallas.or_blocks(_search.search_by_blocks, fused)

    @jax.jit
    @jax.grad
    def step(vectors, codes):
        found = search(jax.lax.stop_gradient(vectors), codes)
        return jnp.sum((vectors - codes[found]) ** 2)

    expected = vectors - codes[np.asarray(vq_ops.nearest_code(vectors, codes))]
    np.testing.assert_allclose(step(vectors, codes), 2 * expected, rtol=1e-5)
    np.testing.assert_array_equal(search(vectors, codes), vq_ops.nearest_code(vectors, codes))
    assert trials == [(len(vectors),)]
    assert bool(fused_calls) == (best == "fused")


def test_few_scores_are_not_worth_a_kernel(sets, monkeypatch):
    vectors, codes = sets
    monkeypatch.setattr(choice, "fastest", None)
    search = by_pallas.or_blocks(_search.search_by_blocks, interpreted)
    np.testing.assert_array_equal(
        search(vectors[1:], codes), vq_ops.nearest_code(vectors[1:], codes)
    )


def test_a_program_for_processors_has_no_kernel_also_beside_a_gpu(sets, monkeypatch):
    """Simulates a machine with a GPU on which the model runs on the CPU."""
    vectors, codes = sets
    expected = vq_ops.nearest_code(vectors, codes)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(choice, "fastest", lambda *arguments: "fused")
    monkeypatch.setenv("KERAS_VQ_FUSED_SEARCH", "1")
    search = backend.with_fused_search(lambda *sets: _search.search_by_blocks(*sets))
    grid = vectors.reshape(2, -1, 4)
    np.testing.assert_array_equal(search(grid, codes), expected.reshape(2, -1))
    codes = jnp.asarray(codes)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum((x - codes[search(x, codes)]) ** 2)))(grid)
    np.testing.assert_allclose(gradient, 2 * (grid - codes[expected].reshape(grid.shape)))
