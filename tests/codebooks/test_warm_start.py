"""Tests that training continues from code vectors set before training (warm start)."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from tests.quantizers.cases import QUANTIZER_CASES

SIZE, DIM = 32, 4

CODEBOOKS = {
    "gradient": keras_vq.GradientCodebook,
    "ema": keras_vq.EMACodebook,
    "ema_bias_correction": lambda size, **options: keras_vq.EMACodebook(
        size, bias_correction=True, **options
    ),
    "step": lambda size, **options: keras_vq.SGDCodebook(size, learning_rate=1.0, **options),
}
RESTARTS = [None, keras_vq.DeadCodeRestart(), keras_vq.OnlineClustering()]


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.fixture
def embeddings(rng):
    return rng.normal(size=(SIZE, DIM)).astype("float32")


def vectors_near(embeddings, rng, count=640):
    """Draws vectors near code vectors, with equal counts per code."""
    chosen = rng.permutation(np.resize(np.arange(len(embeddings)), count))
    noise = 0.05 * rng.normal(size=(count, embeddings.shape[1]))
    return (embeddings[chosen] + noise).astype("float32")


def averaged(embeddings, batches, decay=0.99, epsilon=1e-5):
    """Computes EMA updates in float64; each code starts with the mean count."""
    count = np.full(SIZE, len(batches[0]) / SIZE)
    total = count[:, None] * embeddings.astype("float64")
    codes = embeddings.astype("float64")
    for vectors in batches:
        chosen = ((vectors[:, None] - codes) ** 2).sum(-1).argmin(1)
        sums = np.zeros((SIZE, embeddings.shape[1]))
        np.add.at(sums, chosen, vectors)
        count = decay * count + (1 - decay) * np.bincount(chosen, minlength=SIZE)
        total = decay * total + (1 - decay) * sums
        smoothed = (count + epsilon) / (count.sum() + SIZE * epsilon) * count.sum()
        codes = total / smoothed[:, None]
    return codes


def trained(quantizer, batches):
    """Returns the code vectors after training calls without an optimizer."""
    for vectors in batches:
        quantizer(vectors, training=True)
    return numpy(quantizer.code_vectors())


@pytest.mark.parametrize("restart", RESTARTS, ids=["none", "dead", "online"])
@pytest.mark.parametrize("kind", CODEBOOKS)
def test_set_embeddings_survive_training(kind, restart, embeddings, rng):
    quantizer = keras_vq.VectorQuantizer(codebook=CODEBOOKS[kind](SIZE, restart=restart))
    quantizer.set_embeddings(embeddings)
    np.testing.assert_array_equal(numpy(quantizer.code_vectors()), embeddings)
    np.testing.assert_array_equal(numpy(quantizer.encode(embeddings)), np.arange(SIZE))
    np.testing.assert_array_equal(numpy(quantizer.codebook.recent_counts()), np.ones(SIZE))
    batches = [vectors_near(embeddings, rng) for _ in range(2)]
    expected = averaged(embeddings, batches) if kind.startswith("ema") else embeddings
    tolerance = 0.02 if kind == "step" else 1e-5
    np.testing.assert_allclose(trained(quantizer, batches), expected, atol=tolerance)


@pytest.mark.parametrize("kind", CODEBOOKS)
def test_codes_of_an_explicit_initializer_count_as_used(kind, embeddings, rng):
    options = {"restart": keras_vq.DeadCodeRestart(), "seed": 0}
    codebook = CODEBOOKS[kind](SIZE, initializer=lambda shape, dtype: embeddings, **options)
    quantizer = keras_vq.VectorQuantizer(codebook=codebook)
    batches = [vectors_near(embeddings, rng) for _ in range(2)]
    expected = averaged(embeddings, batches) if kind.startswith("ema") else embeddings
    tolerance = 0.02 if kind == "step" else 1e-5
    np.testing.assert_allclose(trained(quantizer, batches), expected, atol=tolerance)


def test_adapted_codes_survive_the_first_steps(embeddings, rng):
    """With 20 vectors per code, an initial count of 1 would mark all codes as dead."""
    vectors = vectors_near(embeddings, rng)
    quantizer = keras_vq.VectorQuantizer(SIZE)
    quantizer.adapt(vectors)
    start = numpy(quantizer.code_vectors()).copy()
    moved = np.abs(trained(quantizer, [vectors, vectors]) - start).max()
    assert moved < 0.05


def test_a_default_start_is_still_restarted(embeddings, rng):
    quantizer = keras_vq.VectorQuantizer(SIZE)
    quantizer.build((None, DIM))
    start = numpy(quantizer.code_vectors()).copy()
    quantizer(vectors_near(10 * embeddings, rng), training=True)
    assert np.abs(numpy(quantizer.code_vectors()) - start).max(1).min() > 0.1


def test_an_unused_set_code_is_restarted_once_its_count_has_faded(embeddings, rng):
    codebook = keras_vq.EMACodebook(SIZE, decay=0.5, restart=keras_vq.DeadCodeRestart(), seed=0)
    quantizer = keras_vq.VectorQuantizer(codebook=codebook)
    far = embeddings.copy()
    far[3] = 100.0
    quantizer.set_embeddings(far)
    vectors = vectors_near(np.delete(embeddings, 3, axis=0), rng)
    # 0.5 ** 3 is above the threshold of 0.1, 0.5 ** 4 below.
    np.testing.assert_allclose(trained(quantizer, [vectors] * 3)[3], far[3], rtol=1e-4)
    assert np.abs(trained(quantizer, [vectors])[3]).max() < 10


def test_set_embeddings_of_a_gradient_codebook_clear_the_offset_of_restarts(embeddings):
    codebook = keras_vq.GradientCodebook(SIZE, restart=keras_vq.DeadCodeRestart())
    codebook.build((None, DIM))
    codebook.restart_offset.assign(np.ones((SIZE, DIM), "float32"))
    codebook.set_embeddings(embeddings)
    np.testing.assert_array_equal(numpy(codebook.code_vectors()), embeddings)
    np.testing.assert_array_equal(numpy(codebook.embeddings), embeddings)


def test_set_embeddings_with_the_cosine_metric_are_scaled(embeddings):
    quantizer = keras_vq.VectorQuantizer(SIZE, metric="cosine")
    quantizer.set_embeddings(3 * embeddings)
    expected = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(numpy(quantizer.codebook.embeddings), expected, atol=1e-6)


def test_a_projected_codebook_starts_at_the_given_codes(embeddings):
    quantizer = keras_vq.VectorQuantizer(codebook=keras_vq.ProjectedCodebook(SIZE))
    quantizer.set_embeddings(embeddings)
    np.testing.assert_array_equal(numpy(quantizer.code_vectors()), embeddings)
    own = keras_vq.ProjectedCodebook(SIZE, keras.layers.Dense(DIM))
    with pytest.raises(ValueError, match="with `projection` cannot be set"):
        keras_vq.VectorQuantizer(codebook=own).set_embeddings(embeddings)


def test_warm_start_survives_saving(embeddings, rng, tmp_path):
    inputs = keras.Input((DIM,))
    quantizer = keras_vq.VectorQuantizer(SIZE)
    quantizer.set_embeddings(embeddings)
    keras.Model(inputs, quantizer(inputs)).save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras").layers[-1]
    vectors = vectors_near(embeddings, rng)
    expected = averaged(embeddings, [vectors])
    np.testing.assert_allclose(trained(copy, [vectors]), expected, atol=1e-5)


# --- all quantizers


def embeddings_of(quantizer, rng):
    """Draws embeddings for `set_embeddings`, nested like a built quantizer."""
    if isinstance(quantizer, (keras_vq.ResidualQuantizer, keras_vq.ProductQuantizer)):
        different = {id(part): part for part in quantizer.quantizers}.values()
        return [embeddings_of(part, rng) for part in different]
    if isinstance(quantizer, (keras_vq.ProjectedQuantizer, keras_vq.MultiScaleQuantizer)):
        return embeddings_of(quantizer.quantizer, rng)
    return rng.normal(size=(quantizer.codebook_size, quantizer.dim)).astype("float32")


def embeddings_in(quantizer):
    """Returns the code vectors of a quantizer in the same nesting."""
    if isinstance(quantizer, (keras_vq.ResidualQuantizer, keras_vq.ProductQuantizer)):
        different = {id(part): part for part in quantizer.quantizers}.values()
        return [embeddings_in(part) for part in different]
    if isinstance(quantizer, (keras_vq.ProjectedQuantizer, keras_vq.MultiScaleQuantizer)):
        return embeddings_in(quantizer.quantizer)
    if isinstance(quantizer, keras_vq.VectorQuantizer):
        return numpy(quantizer.code_vectors())
    return numpy(quantizer.embeddings)


def has_code_vectors(quantizer):
    parts = [*getattr(quantizer, "quantizers", [])]
    parts += [quantizer.quantizer] if hasattr(quantizer, "quantizer") else []
    if parts:
        return all(map(has_code_vectors, parts))
    is_frozen = isinstance(quantizer, keras_vq.RandomProjectionQuantizer)
    return hasattr(quantizer, "codebook") or (hasattr(quantizer, "embeddings") and not is_frozen)


@pytest.mark.parametrize("case", QUANTIZER_CASES, ids=lambda case: case.id)
def test_set_embeddings_of_every_quantizer(case, rng):
    quantizer = case.build()
    quantizer.build((None, 5, 5, DIM))
    if not has_code_vectors(quantizer):
        with pytest.raises(ValueError, match="does not support `set_embeddings`"):
            quantizer.set_embeddings(
                np.zeros((quantizer.codebook_size, DIM))
                if not hasattr(quantizer, "quantizers")
                else [None] * len(quantizer.quantizers)
            )
        return
    embeddings = embeddings_of(quantizer, rng)
    quantizer.set_embeddings(embeddings)
    pairs = zip(
        keras.tree.flatten(embeddings_in(quantizer)), keras.tree.flatten(embeddings), strict=True
    )
    for ours, given in pairs:
        unit = given / np.linalg.norm(given, axis=1, keepdims=True)
        assert np.allclose(ours, given) or np.allclose(ours, unit, atol=1e-6)
    # The set embeddings are used in calls.
    vectors = rng.normal(size=(3, 5, 5, DIM)).astype("float32")
    quantized, indices = quantizer(vectors)
    np.testing.assert_array_equal(numpy(quantizer.decode(indices)), numpy(quantized))


@pytest.mark.parametrize(
    "bad", [np.zeros((3, DIM)), np.zeros((SIZE, 5)), np.full((SIZE, DIM), np.nan), np.zeros(SIZE)]
)
def test_embeddings_that_do_not_fit(bad):
    quantizer = keras_vq.VectorQuantizer(SIZE)
    quantizer.build((None, DIM))
    before = numpy(quantizer.code_vectors()).copy()
    with pytest.raises(ValueError, match=r"`embeddings` must be a finite array of shape \(32, 4\)"):
        quantizer.set_embeddings(bad)
    np.testing.assert_array_equal(numpy(quantizer.code_vectors()), before)


def test_a_combinator_needs_one_entry_for_each_quantizer(embeddings):
    shared = keras_vq.VectorQuantizer(SIZE)
    quantizer = keras_vq.ResidualQuantizer([shared, shared, keras_vq.VectorQuantizer(SIZE)])
    with pytest.raises(ValueError, match="must be a list of 2 entries"):
        quantizer.set_embeddings([embeddings] * 3)
    quantizer.set_embeddings([embeddings, -embeddings])
    np.testing.assert_array_equal(numpy(quantizer.quantizers[2].code_vectors()), -embeddings)
