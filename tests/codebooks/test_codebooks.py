"""Tests of codebook initialization and updates, against NumPy and scikit-learn."""

import numpy as np
import pytest
from keras import ops

import keras_vq

CODEBOOKS = [keras_vq.GradientCodebook, keras_vq.EMACodebook]


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def built(codebook, dim=4):
    codebook.build((None, dim))
    return codebook


@pytest.fixture
def vectors(rng):
    return rng.normal(size=(500, 4)).astype("float32")


# --- initialization


@pytest.mark.parametrize("kind", CODEBOOKS)
@pytest.mark.parametrize("restart", [None, keras_vq.DeadCodeRestart()])
def test_adapt_to_the_first_vectors(kind, restart, vectors):
    codebook = kind(16, restart=restart)
    codebook.adapt(vectors, start="first")
    np.testing.assert_allclose(numpy(codebook.code_vectors()), vectors[:16], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(numpy(codebook(vectors[:16])), np.arange(16))


@pytest.mark.parametrize("kind", CODEBOOKS)
def test_kmeans_start_is_a_fraction_of_the_error_of_a_random_one(kind, rng):
    heaps = rng.normal(size=(16, 4)) * 5
    vectors = (heaps[rng.integers(0, 16, 800)] + rng.normal(size=(800, 4)) * 0.1).astype("float32")
    codebook = built(kind(16, seed=1))

    def error():
        return float(np.square(vectors - numpy(codebook._lookup(codebook(vectors)))).mean())

    before = error()
    codebook.adapt(vectors)
    assert error() < 0.1 * before


@pytest.mark.parametrize("kind", CODEBOOKS)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((3, 4), "float32"), "at least codebook_size = 16 vectors"),
        (np.zeros((30, 5), "float32"), "of dimension 4"),
        (np.full((30, 4), np.nan, "float32"), "finite vectors"),
        (np.zeros((30,), "float32"), "finite vectors"),
    ],
)
def test_what_adapt_cannot_use(kind, data, message):
    codebook = built(kind(16))
    before = numpy(codebook.code_vectors()).copy()
    with pytest.raises(ValueError, match=message):
        codebook.adapt(data)
    np.testing.assert_array_equal(numpy(codebook.code_vectors()), before)


def test_unknown_start(vectors):
    with pytest.raises(ValueError, match="`start` must be one of"):
        built(keras_vq.GradientCodebook(16)).adapt(vectors, start="best")


def test_kmeans_start_accepts_repeated_vectors():
    codebook = keras_vq.EMACodebook(16)
    codebook.adapt(np.repeat(np.eye(4, dtype="float32"), 10, axis=0))
    assert np.isfinite(numpy(codebook.code_vectors())).all()


# --- invalid arguments


@pytest.mark.parametrize("kind", CODEBOOKS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codebook_size": 0}, "`codebook_size` must be a positive integer"),
        ({"codebook_size": 2.5}, "`codebook_size` must be a positive integer"),
        ({"codebook_size": True}, "`codebook_size` must be a positive integer"),
        ({"decay": 1.0}, r"`decay` must be a number in \[0, 1\)"),
        ({"decay": -0.1}, r"`decay` must be a number in \[0, 1\)"),
        ({"restart": 0.1}, "`restart` must be one of"),
    ],
)
def test_bad_codebook_arguments(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"codebook_size": 8, **options})


def test_bad_epsilon():
    with pytest.raises(ValueError, match="`epsilon` must be a finite positive number"):
        keras_vq.EMACodebook(8, epsilon=0)


@pytest.mark.parametrize("commitment", [-0.1, float("nan"), "much"])
def test_bad_commitment(commitment):
    with pytest.raises(
        ValueError, match="`commitment_weight` must be a finite non-negative number"
    ):
        keras_vq.VectorQuantizer(8, commitment_weight=commitment)


def test_bad_estimator():
    with pytest.raises(
        ValueError, match=r"`estimator` must be one of \['directional', 'rotation_trick'"
    ):
        keras_vq.VectorQuantizer(8, estimator="straight")
