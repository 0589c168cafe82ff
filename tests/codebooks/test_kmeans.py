"""K-means initialization against scikit-learn, in blocks, and from data sets larger than memory."""

from pathlib import Path

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq.codebooks import kmeans


def error(vectors, centers):
    return float(((vectors[:, None] - centers) ** 2).sum(-1).min(1).sum())


@pytest.fixture
def golden():
    with np.load(Path(__file__).parents[1] / "parity/goldens/kmeans.npz") as file:
        return dict(file)


def test_lloyd_iterations_are_those_of_scikit_learn(golden):
    ours = kmeans.lloyd(golden["data"], golden["initial_centers"], 10, np.random.default_rng(0))
    np.testing.assert_allclose(ours, golden["centers"], rtol=1e-5)
    np.testing.assert_allclose(error(golden["data"], ours), golden["inertia"], rtol=1e-6)


def test_blocks_do_not_change_the_centers(golden, monkeypatch, capsys):
    data, initial, rng = golden["data"], golden["initial_centers"], np.random.default_rng(0)
    whole = kmeans.lloyd(data, initial, 10, rng)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(kmeans, "_MOST_ROWS", 48)
    np.testing.assert_allclose(kmeans.lloyd(data, initial, 10, rng), whole, rtol=1e-5)
    assert "block" in capsys.readouterr().out  # many blocks show a progress bar


@pytest.mark.parametrize("start", ["kmeans", "kmeans++", "kmeans_random"])
def test_starts(start, golden):
    data = golden["data"]
    ours = kmeans.kmeans_centers(data, 8, 0, start=start)
    assert error(data, ours) < 1.3 * golden["inertia"]  # another local minimum
    np.testing.assert_array_equal(ours, kmeans.kmeans_centers(data, 8, 0, start=start))
    # An offset far from the origin does not cost accuracy.
    np.testing.assert_allclose(
        kmeans.kmeans_centers(data + 1e3, 8, 0, start=start) - 1e3, ours, atol=1e-3
    )


@pytest.mark.backend_free
def test_initial_centers_are_as_good_as_those_of_scikit_learn():
    from sklearn.cluster import kmeans_plusplus

    rng = np.random.default_rng(0)
    means = 4 * rng.normal(size=(30, 6))
    data = (means[rng.integers(30, size=960)] + rng.normal(size=(960, 6))).astype("float32")
    data -= data.mean(axis=0)
    ours, theirs = (
        [error(data, choose(seed)) for seed in range(20)]
        for choose in (
            lambda seed: kmeans.plus_plus_centers(data, 60, np.random.default_rng(seed)),
            lambda seed: kmeans_plusplus(data, 60, random_state=seed)[0],
        )
    )
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.02)
    # Vectors that are all equal, and as many centers as vectors.
    assert kmeans.plus_plus_centers(np.zeros((4, 2), "float32"), 4, rng).shape == (4, 2)
    every = kmeans.plus_plus_centers(data[:10], 10, rng)
    assert len(np.unique(every, axis=0)) == 10


def test_without_a_seed_centers_follow_that_of_keras(golden):
    found = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        found.append(kmeans.kmeans_centers(golden["data"], 8))
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_three_clusters_are_found(rng):
    means = np.array([[0, 0], [10, 0], [0, 10]], "float32")
    clusters = [mean + rng.normal(size=(100, 2)).astype("float32") * 0.1 for mean in means]
    centers = kmeans.kmeans_centers(np.concatenate(clusters), 3, seed=0)
    expected = np.array([cluster.mean(axis=0) for cluster in clusters])
    order = np.lexsort(centers.T.round())
    np.testing.assert_allclose(centers[order], expected[np.lexsort(expected.T.round())], atol=1e-4)


def test_clusters_without_vectors_split_large_ones(rng):
    data = rng.normal(size=(400, 4)).astype("float32")
    initial = np.concatenate([data[:2], np.full((6, 4), 100, "float32")])
    centers = kmeans.lloyd(data, initial, 10, rng)
    nearest = ((data[:, None] - centers) ** 2).sum(-1).argmin(1)
    assert (np.bincount(nearest, minlength=8) > 0).all()


def test_a_data_set_is_sampled_evenly_in_bounded_memory():
    most = kmeans.VECTORS_PER_CLUSTER * 2
    batches = (
        np.repeat(np.arange(s, s + 32, dtype="float32")[:, None], 3, 1) for s in range(0, 32768, 32)
    )
    sample = kmeans.read_vectors(batches, 2, "kmeans")
    assert sample.shape == (most, 3)
    assert len(np.unique(sample[:, 0])) == most
    # Mean and standard deviation of a uniform sample; tolerances are 4 standard errors.
    assert abs(sample[:, 0].mean() - 16384) < 4 * 9459 / most**0.5
    assert abs(sample[:, 0].std() - 9459) < 1000
    np.testing.assert_array_equal(
        kmeans.read_vectors((part for part in np.split(sample, 8)), 2, "kmeans"), sample
    )


@pytest.mark.parametrize(
    "quantizer",
    [
        lambda: keras_vq.VectorQuantizer(2, seed=0),
        lambda: keras_vq.ResidualQuantizer([keras_vq.VectorQuantizer(2, seed=0)]),
        lambda: keras_vq.ProductQuantizer([keras_vq.VectorQuantizer(2, seed=0) for _ in range(2)]),
    ],
)
def test_quantizers_read_generators(quantizer, rng):
    data = rng.normal(size=(40, 5, 4)).astype("float32")
    first, second = quantizer(), quantizer()
    first.adapt(data)
    second.adapt(batch for batch in np.split(data, 4))
    np.testing.assert_array_equal(first.encode(data), second.encode(data))


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (np.zeros((4, 3), "float32"), "batches of one shape"),
        (np.full((4, 2), np.nan, "float32"), "finite vectors"),
    ],
)
def test_a_wrong_batch_is_an_error(last, message):
    with pytest.raises(ValueError, match=message):
        kmeans.read_vectors(iter([np.zeros((4, 2), "float32"), last]), 2, "kmeans")
