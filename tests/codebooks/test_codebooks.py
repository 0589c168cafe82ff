"""How codebooks learn, start and restart, against NumPy and scikit-learn."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from keras_vq.codebooks.base import CodeStatistics, kmeans_centres

CODEBOOKS = [keras_vq.Codebook, keras_vq.EMACodebook]


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def built(codebook, dim=4):
    codebook.build((None, dim))
    return codebook


@pytest.fixture
def vectors(rng):
    return rng.normal(size=(500, 4)).astype("float32")


# --- start


@pytest.mark.parametrize("kind", CODEBOOKS)
@pytest.mark.parametrize("restart", [None, keras_vq.DeadCodeRestart()])
def test_adapt_to_the_first_vectors(kind, restart, vectors):
    codebook = kind(16, restart=restart)
    codebook.adapt(vectors, start="first")
    np.testing.assert_allclose(numpy(codebook.codes()), vectors[:16], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(numpy(codebook(vectors[:16])), np.arange(16))


def test_kmeans_of_three_heaps_finds_their_means(rng):
    means = np.array([[0, 0], [10, 0], [0, 10]], "float32")
    heaps = [mean + rng.normal(size=(100, 2)).astype("float32") * 0.1 for mean in means]
    centres = kmeans_centres(np.concatenate(heaps), 3, seed=0)
    expected = np.array([heap.mean(axis=0) for heap in heaps])
    order = np.lexsort(centres.T.round())
    np.testing.assert_allclose(centres[order], expected[np.lexsort(expected.T.round())], atol=1e-4)


def test_lloyd_iterations_are_those_of_scikit_learn():
    from sklearn.cluster import KMeans

    with np.load(Path(__file__).parents[1] / "parity/goldens/kmeans.npz") as file:
        data, centres, inertia = file["data"], file["centers"], float(file["inertia"])
        initial = file["initial_centers"]
    again = KMeans(8, init=initial, n_init=1, max_iter=10, tol=0, algorithm="lloyd").fit(data)
    np.testing.assert_allclose(again.cluster_centers_, centres, rtol=1e-5)
    ours = kmeans_centres(data, 8, seed=0)
    distances = ((data[:, None] - ours) ** 2).sum(-1).min(1)
    # Another start, so another local optimum, but of the same kind.
    assert distances.sum() < 1.3 * inertia


@pytest.mark.parametrize("kind", CODEBOOKS)
def test_kmeans_start_is_a_fraction_of_the_error_of_a_random_one(kind, rng):
    heaps = rng.normal(size=(16, 4)) * 5
    vectors = (heaps[rng.integers(0, 16, 800)] + rng.normal(size=(800, 4)) * 0.1).astype("float32")
    codebook = built(kind(16, seed=1))

    def error():
        return float(np.square(vectors - numpy(codebook.lookup(codebook(vectors)))).mean())

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
    before = numpy(codebook.codes()).copy()
    with pytest.raises(ValueError, match=message):
        codebook.adapt(data)
    np.testing.assert_array_equal(numpy(codebook.codes()), before)


def test_unknown_start(vectors):
    with pytest.raises(ValueError, match="`start` must be one of"):
        built(keras_vq.Codebook(16)).adapt(vectors, start="best")


def test_kmeans_start_accepts_repeated_vectors():
    codebook = keras_vq.EMACodebook(16)
    codebook.adapt(np.repeat(np.eye(4, dtype="float32"), 10, axis=0))
    assert np.isfinite(numpy(codebook.codes())).all()


# --- restart


def statistics(counts, candidates):
    counts = np.asarray(counts, "float32")
    sums = np.ones((len(counts), 4), "float32") * counts[:, None]
    return CodeStatistics(
        *(ops.convert_to_tensor(part) for part in (counts, sums, candidates.astype("float32")))
    )


@pytest.mark.parametrize("kind", CODEBOOKS)
def test_codes_below_the_threshold_move_and_others_stay(kind, rng):
    # 400 vectors, 4 codes: 100 a code, so that fewer than 20 are dead.
    restart = keras_vq.DeadCodeRestart(threshold=0.2, reset=0.5)
    codebook = built(kind(4, decay=0.0, restart=restart))
    before = numpy(codebook.codes()).copy()
    candidates = rng.normal(size=(4, 4))
    codebook.update(statistics([360, 19, 0, 21], candidates))
    codes = numpy(codebook.codes())
    np.testing.assert_allclose(codes[[1, 2]], candidates[[1, 2]], rtol=1e-5)
    alive = before if kind is keras_vq.Codebook else np.ones((4, 4))
    np.testing.assert_allclose(codes[[0, 3]], alive[[0, 3]], rtol=1e-4)
    np.testing.assert_allclose(numpy(codebook.recent_counts()), [360, 50, 50, 21], rtol=1e-5)


@pytest.mark.parametrize("bias_correction", [False, True])
def test_averages_restart_with_their_code(bias_correction, rng):
    """Elsewhere a restarted code is pulled back by its old average in the next step."""
    restart = keras_vq.DeadCodeRestart(threshold=0.2, reset=1.0)
    codebook = built(
        keras_vq.EMACodebook(4, decay=0.9, bias_correction=bias_correction, restart=restart)
    )
    candidates = rng.normal(size=(4, 4))
    # Counts start at one vector a code, far below the mean of 100: code 2 is dead at once.
    codebook.update(statistics([380, 210, 0, 210], candidates))
    codebook.update(statistics([380, 210, 0, 210], -candidates))
    np.testing.assert_allclose(numpy(codebook.codes())[2], candidates[2], rtol=1e-4)


def test_no_restart_without_a_rule(rng):
    codebook = built(keras_vq.EMACodebook(4))
    before = numpy(codebook.codes()).copy()
    codebook.update(
        CodeStatistics(
            *map(
                ops.convert_to_tensor,
                (np.array([400, 0, 0, 0], "float32"), np.zeros((4, 4), "float32")),
            ),
            None,
        )
    )
    np.testing.assert_allclose(numpy(codebook.codes())[1:], before[1:], rtol=1e-3)


@pytest.mark.parametrize("sampling", ["distance", "uniform"])
def test_restarts_go_where_the_sampling_says(sampling, rng):
    # 90 vectors that a code serves exactly, 10 that none does.
    vectors = np.concatenate([np.zeros((90, 4)), 9 + rng.normal(size=(10, 4))]).astype("float32")
    restart = keras_vq.DeadCodeRestart(sampling=sampling)
    codebook = built(keras_vq.EMACodebook(1000, restart=restart, initializer="zeros"))
    codes = np.zeros_like(vectors)
    drawn = codebook.statistics(vectors, codes, np.zeros(100, "int32"), None).candidates
    share_far = (numpy(drawn)[:, 0] > 1).mean()
    assert share_far == 1.0 if sampling == "distance" else abs(share_far - 0.1) < 0.04


def test_masked_vectors_are_never_restarted_on(rng):
    vectors = rng.normal(size=(100, 4)).astype("float32")
    mask = rng.random(100) < 0.3
    for sampling in ("distance", "uniform"):
        restart = keras_vq.DeadCodeRestart(sampling=sampling)
        codebook = built(keras_vq.EMACodebook(64, restart=restart))
        drawn = codebook.statistics(vectors, 0 * vectors, np.zeros(100, "int32"), mask).candidates
        kept = {row.tobytes() for row in vectors[mask]}
        assert all(row.tobytes() in kept for row in numpy(drawn))


@pytest.mark.parametrize("kind", CODEBOOKS)
def test_restarts_put_a_collapsed_codebook_to_use_in_fit(kind, rng):
    """All codes start far from the data, in one point: without restarts one serves for all."""
    vectors = rng.normal(size=(512, 4)).astype("float32")
    far = keras.initializers.Constant(50.0)
    used = {}
    for restart in (None, keras_vq.DeadCodeRestart()):
        codebook = kind(32, decay=0.9, restart=restart, initializer=far)
        inputs = keras.Input((4,))
        quantizer = keras_vq.VectorQuantizer(codebook)
        # The layer after it gives the optimizer something to train in both cases.
        decoder = keras.layers.Dense(4, kernel_initializer="identity")
        model = keras.Model(inputs, decoder(quantizer(inputs)[0]))
        model.compile(keras.optimizers.Adam(1e-2), loss="mse")
        model.fit(vectors, vectors, batch_size=64, epochs=4, verbose=0)
        used[restart is not None] = len(np.unique(numpy(quantizer.encode(vectors))))
    assert used[False] <= 2
    assert used[True] >= 24


# --- what they do not accept


@pytest.mark.parametrize("kind", CODEBOOKS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codebook_size": 0}, "`codebook_size` must be a whole number of at least 1"),
        ({"codebook_size": 2.5}, "`codebook_size` must be a whole number"),
        ({"codebook_size": True}, "`codebook_size` must be a whole number"),
        ({"decay": 1.0}, r"`decay` must be a number in \[0, 1\)"),
        ({"decay": -0.1}, r"`decay` must be a number in \[0, 1\)"),
        ({"restart": 0.1}, "`restart` must be a DeadCodeRestart or None"),
    ],
)
def test_bad_codebook_arguments(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"codebook_size": 8, **options})


def test_bad_epsilon():
    with pytest.raises(ValueError, match="`epsilon` must be a finite number above 0"):
        keras_vq.EMACodebook(8, epsilon=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0}, "`threshold` must be a finite number above 0"),
        ({"threshold": 1.5}, r"`threshold` must be a number in \(0, 1\]"),
        ({"reset": -1}, "`reset` must be"),
        ({"sampling": "nearest"}, "`sampling` must be one of"),
    ],
)
def test_bad_restart_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        keras_vq.DeadCodeRestart(**options)


@pytest.mark.parametrize("commitment", [-0.1, float("nan"), "much"])
def test_bad_commitment(commitment):
    with pytest.raises(ValueError, match="`commitment` must be a finite number of at least 0"):
        keras_vq.VectorQuantizer(8, commitment=commitment)


def test_bad_estimator():
    with pytest.raises(ValueError, match=r"`estimator` must be one of \['rotation_trick', "):
        keras_vq.VectorQuantizer(8, estimator="straight")
