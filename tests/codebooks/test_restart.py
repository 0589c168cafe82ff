"""Tests of restart rules: which code vectors move, how far, and to which targets."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from keras_vq.codebooks.batch_stats import (
    AssignedVectors,
    CodeStatistics,
    closest_vectors,
    sample_vectors,
)

CODEBOOKS = [keras_vq.GradientCodebook, keras_vq.EMACodebook]


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def built(codebook, dim=4):
    codebook.build((None, dim))
    return codebook


def batch_of(vectors, distances=None, weights=None):
    ones = np.ones(len(vectors), "float32")
    distances = ones if distances is None else distances
    parts = (vectors, distances, ones if weights is None else weights)
    return AssignedVectors(*(ops.convert_to_tensor(np.asarray(part, "float32")) for part in parts))


def statistics(counts, vectors):
    """Returns batch statistics with given counts, sums of ones per vector and given vectors."""
    counts = np.asarray(counts, "float32")
    sums = np.ones((len(counts), 4), "float32") * counts[:, None]
    pair = (ops.convert_to_tensor(counts), ops.convert_to_tensor(sums))
    return CodeStatistics(*pair, [batch_of(vectors)])


# --- selection of dead codes, and their EMA statistics


@pytest.mark.parametrize("kind", CODEBOOKS)
def test_codes_below_the_threshold_move_and_others_stay(kind):
    # 400 vectors, 4 codes: the mean count is 100, so codes with a count below 20 are dead.
    restart = keras_vq.DeadCodeRestart(threshold=0.2, restart_count=0.5)
    codebook = built(kind(4, decay=0.0, restart=restart))
    before = numpy(codebook.code_vectors()).copy()
    vector = np.arange(4.0)
    codebook._update(statistics([360, 19, 0, 21], [vector]))
    codes = numpy(codebook.code_vectors())
    np.testing.assert_allclose(codes[[1, 2]], [vector, vector], rtol=1e-5, atol=1e-6)
    alive = before if kind is keras_vq.GradientCodebook else np.ones((4, 4))
    np.testing.assert_allclose(codes[[0, 3]], alive[[0, 3]], rtol=1e-4)
    np.testing.assert_allclose(numpy(codebook.recent_counts()), [360, 50, 50, 21], rtol=1e-5)


@pytest.mark.parametrize("bias_correction", [False, True])
def test_averages_restart_with_their_code(bias_correction):
    """Otherwise the old EMA pulls a restarted code vector back in the next step."""
    restart = keras_vq.DeadCodeRestart(threshold=0.2, restart_count=1.0)
    codebook = built(
        keras_vq.EMACodebook(4, decay=0.9, bias_correction=bias_correction, restart=restart)
    )
    vector = np.arange(4.0)
    # Initial counts are 1, far below the mean count of the batch: code 2 is dead at once.
    codebook._update(statistics([380, 210, 0, 210], [vector]))
    codebook._update(statistics([380, 210, 0, 210], [-vector]))
    np.testing.assert_allclose(numpy(codebook.code_vectors())[2], vector, rtol=1e-4, atol=1e-6)


def test_no_restart_without_a_rule():
    codebook = built(keras_vq.EMACodebook(4))
    before = numpy(codebook.code_vectors()).copy()
    codebook._update(statistics([400, 0, 0, 0], np.zeros((1, 4)))._replace(batches=[]))
    np.testing.assert_allclose(numpy(codebook.code_vectors())[1:], before[1:], rtol=1e-3)


@pytest.mark.parametrize("kind", [*CODEBOOKS, keras_vq.SGDCodebook])
def test_a_move_of_half_the_way(kind, rng):
    options = {"learning_rate": 1.0} if kind is keras_vq.SGDCodebook else {}
    codebook = built(kind(3, restart=keras_vq.DeadCodeRestart(), **options))
    before = numpy(codebook.code_vectors()).copy()
    targets = rng.normal(size=(3, 4)).astype("float32")
    shares = np.array([0.0, 0.5, 1.0], "float32")
    codebook._move_embeddings(
        *map(ops.convert_to_tensor, (shares, targets, np.full(3, 7.0, "float32")))
    )
    after = numpy(codebook.code_vectors())
    np.testing.assert_array_equal(after[0], before[0])
    np.testing.assert_allclose(after[1], (before[1] + targets[1]) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after[2], targets[2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(numpy(codebook.recent_counts()), [1, 4, 7])


@pytest.mark.parametrize("anchor", ["closest", "uniform"])
def test_online_clustering_follows_its_formula(anchor, rng):
    """Compares with the formulas of Zheng and Vedaldi, 2023 (CVQ-VAE)."""
    rule = keras_vq.OnlineClustering(anchor=anchor)
    codes = rng.normal(size=(4, 2)).astype("float32")
    vectors = rng.normal(size=(30, 2)).astype("float32")
    counts = np.array([0.0, 0.001, 0.01, 5.0], "float32")
    move = rule._propose(*map(ops.convert_to_tensor, (codes, counts)), 2.0, [batch_of(vectors)], 0)

    probabilities = counts / (2.0 * 4)  # 4 codes, 2 vectors per code
    shares = np.exp(-probabilities * 4 * 10 / (1 - 0.99) - 1e-3)
    np.testing.assert_allclose(numpy(move.shares), shares, rtol=1e-4)
    np.testing.assert_array_equal(numpy(move.counts), counts)
    if anchor == "closest":
        closest = ((codes[:, None] - vectors) ** 2).sum(-1).argmin(1)
        np.testing.assert_array_equal(numpy(move.targets), vectors[closest])
    else:
        assert {row.tobytes() for row in numpy(move.targets)} <= {v.tobytes() for v in vectors}


# --- targets


@pytest.mark.parametrize("sampling", ["distance", "uniform"])
def test_restarts_go_where_the_sampling_says(sampling, rng):
    # 90 vectors equal to a code vector, 10 far from all of them.
    vectors = np.concatenate([np.zeros((90, 4)), 9 + rng.normal(size=(10, 4))]).astype("float32")
    codebook = built(keras_vq.EMACodebook(1000, restart=keras_vq.DeadCodeRestart()))
    told = codebook._statistics(vectors, 0 * vectors, np.zeros(100, "int32"), None)
    rule = keras_vq.DeadCodeRestart(sampling=sampling)
    none = ops.zeros((1000,))
    drawn = rule._propose(codebook.code_vectors(), none, ops.ones(()), told.batches, 1).targets
    share_far = (numpy(drawn)[:, 0] > 1).mean()
    assert share_far == 1.0 if sampling == "distance" else abs(share_far - 0.1) < 0.04


@pytest.mark.parametrize(
    "rule",
    [
        keras_vq.DeadCodeRestart(sampling="distance"),
        keras_vq.DeadCodeRestart(sampling="uniform"),
        keras_vq.OnlineClustering("closest"),
        keras_vq.OnlineClustering("uniform"),
    ],
    ids=["distance", "uniform", "closest", "online_uniform"],
)
def test_masked_vectors_are_never_restarted_on(rule, rng):
    vectors = rng.normal(size=(100, 4)).astype("float32")
    mask = rng.random(100) < 0.3
    codebook = built(keras_vq.EMACodebook(64, restart=rule))
    told = codebook._statistics(vectors, 0 * vectors, np.zeros(100, "int32"), mask)
    drawn = rule._propose(
        codebook.code_vectors(), ops.zeros((64,)), ops.ones(()), told.batches, 1
    ).targets
    kept = {row.tobytes() for row in vectors[mask]}
    assert all(row.tobytes() in kept for row in numpy(drawn))


def test_vectors_are_drawn_in_proportion_to_their_weights(rng):
    rows = np.arange(4, dtype="float32")[:, None]
    weights = np.array([1.0, 0.0, 2.0, 5.0], "float32")
    uniforms = rng.random(20_000).astype("float32")
    drawn = numpy(sample_vectors([batch_of(rows)], [ops.convert_to_tensor(weights)], uniforms))[
        :, 0
    ]
    share = np.bincount(drawn.astype(int), minlength=4) / len(drawn)
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.015)
    assert share[1] == 0


def test_vectors_of_no_weight_at_all_are_still_vectors():
    rows = np.arange(3, dtype="float32")[:, None]
    drawn = sample_vectors([batch_of(rows)], [ops.zeros((3,))], np.array([0.0, 0.999], "float32"))
    assert np.isin(numpy(drawn), rows).all()


def test_the_closest_vector_of_codes_with_a_common_offset(rng):
    vectors = (1000 + rng.normal(size=(50, 4))).astype("float32")
    codes = (1000 + rng.normal(size=(20, 4))).astype("float32")
    weights = np.ones(50, "float32")
    weights[::3] = 0
    batch = AssignedVectors(
        *map(ops.convert_to_tensor, (vectors, np.zeros(50, "float32"), weights))
    )
    closest = closest_vectors([batch], ops.convert_to_tensor(codes))
    kept = vectors[weights > 0]
    distances = ((codes[:, None].astype("float64") - kept) ** 2).sum(-1)
    np.testing.assert_array_equal(ops.convert_to_numpy(closest), kept[distances.argmin(1)])


def test_the_closest_vector_leaves_out_masked_ones():
    batch = batch_of(np.array([[0.0], [1.0], [5.0]]), weights=[1, 0, 1])
    closest = closest_vectors([batch], ops.convert_to_tensor(np.array([[1.0], [4.0]], "float32")))
    np.testing.assert_array_equal(numpy(closest), [[0.0], [5.0]])


def test_merged_statistics_are_those_of_both_batches(rng):
    codebook = built(keras_vq.EMACodebook(8, restart=keras_vq.DeadCodeRestart()))
    vectors = rng.normal(size=(20, 4)).astype("float32")
    indices = rng.integers(0, 8, 20).astype("int32")
    first, second, both = (
        codebook._statistics(vectors[part], 0 * vectors[part], indices[part], None)
        for part in (slice(0, 12), slice(12, 20), slice(0, 20))
    )
    merged = first.merged(second)
    for ours, joined in zip(merged[:2], both[:2], strict=True):
        np.testing.assert_allclose(numpy(ours), numpy(joined), rtol=1e-5, atol=1e-6)
    # Merged statistics draw the same vectors as those of the joined batch.
    uniforms = rng.random(50).astype("float32")
    drawn = [
        sample_vectors(told.batches, [batch.distances for batch in told.batches], uniforms)
        for told in (merged, both)
    ]
    np.testing.assert_array_equal(numpy(drawn[0]), numpy(drawn[1]))


# --- in training


@pytest.mark.parametrize(
    ("rule", "at_least"),
    # Uniformly drawn targets may be close together, so their code vectors compete for vectors.
    [(keras_vq.DeadCodeRestart(), 24), (keras_vq.OnlineClustering("uniform"), 16)],
)
@pytest.mark.parametrize("kind", CODEBOOKS)
def test_restarts_put_a_collapsed_codebook_to_use_in_fit(kind, rule, at_least, rng):
    """All code vectors start at one point far from the data: without restarts, one is used."""
    vectors = rng.normal(size=(512, 4)).astype("float32")
    used = {}
    for restart in (None, rule):
        codebook = built(kind(32, decay=0.9, restart=restart))
        # Not set by an explicit initializer, whose codes would count as used.
        codebook._move_embeddings(ops.ones(32), ops.full((32, 4), 50.0), codebook.recent_counts())
        inputs = keras.Input((4,))
        quantizer = keras_vq.VectorQuantizer(codebook=codebook)
        # The Dense layer gives the optimizer trainable weights in all cases.
        decoder = keras.layers.Dense(4, kernel_initializer="identity")
        model = keras.Model(inputs, decoder(quantizer(inputs)[0]))
        model.compile(keras.optimizers.Adam(1e-2), loss="mse")
        model.fit(vectors, vectors, batch_size=64, epochs=16, verbose=0)
        used[restart is not None] = len(np.unique(numpy(quantizer.encode(vectors))))
    assert used[False] <= 2
    assert used[True] >= at_least


# --- invalid arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0}, "`threshold` must be a finite positive number"),
        ({"threshold": 1.5}, r"`threshold` must be a number in \(0, 1\]"),
        ({"restart_count": -1}, "`restart_count` must be"),
        ({"sampling": "nearest"}, "`sampling` must be one of"),
    ],
)
def test_bad_restart_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        keras_vq.DeadCodeRestart(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"anchor": "far"}, "`anchor` must be one of"), ({"decay": 1.0}, "`decay` must be a number")],
)
def test_bad_online_clustering_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        keras_vq.OnlineClustering(**options)
