"""Tests of IndexBackpropagationQuantizer against its formulas in float64."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_vq import _search
from keras_vq.losses import EntropyLoss
from keras_vq.quantizers.index_backpropagation_quantizer import IndexBackpropagationQuantizer
from tests.gradients import gradients

numpy = ops.convert_to_numpy
K, DIM = 9, 4


@pytest.fixture
def codes(rng):
    return rng.normal(size=(K, DIM)).astype("float32")


@pytest.fixture
def inputs(rng):
    return rng.normal(size=(3, 6, DIM)).astype("float32")


def build(codes, entropy=None, **arguments):
    quantizer = IndexBackpropagationQuantizer(len(codes), entropy_loss=entropy, **arguments)
    quantizer.build((None, codes.shape[1]))
    quantizer.embeddings.assign(codes)
    return quantizer


def softmax(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def softmax_gradient(p, upstream):
    return p * (upstream - np.sum(p * upstream, axis=-1, keepdims=True))


@pytest.mark.parametrize("training", [False, True])
def test_codes_of_the_largest_product(codes, inputs, training):
    quantizer = build(codes)
    quantized, indices = quantizer(inputs, training=training)
    expected = (inputs.astype("float64") @ codes.T.astype("float64")).argmax(-1)
    np.testing.assert_array_equal(numpy(indices), expected)
    np.testing.assert_array_equal(numpy(quantized), codes[expected])
    np.testing.assert_array_equal(numpy(quantizer.decode(indices)), codes[expected])


def test_the_search_in_blocks_finds_the_same(codes, inputs, monkeypatch):
    whole = numpy(build(codes).encode(inputs))
    monkeypatch.setattr(_search, "SCORES_PER_BLOCK", 4 * K)
    np.testing.assert_array_equal(numpy(build(codes).encode(inputs)), whole)


@pytest.mark.parametrize("masked", [False, True])
def test_loss_and_gradients(codes, inputs, rng, masked):
    beta = 0.4
    mask = rng.random((3, 6)) < 0.6 if masked else np.ones((3, 6), bool)
    given = mask if masked else None
    shown = np.where(mask[..., None], inputs, np.nan).astype("float32")
    upstream = rng.normal(size=inputs.shape).astype("float32")
    quantizer = build(codes, codebook_loss_weight=beta)

    def objective(x):
        quantized, _ = quantizer(x, mask=given, training=True)
        return ops.sum(ops.multiply(quantized, upstream)) + sum(quantizer.losses)

    by_inputs, by_codes = gradients(objective, shown, [quantizer.embeddings])
    x, c = inputs[mask].astype("float64"), codes.astype("float64")
    p = softmax(x @ c.T)
    one_hot = np.eye(K)[p.argmax(-1)]
    pull = 2.0 * (x - one_hot @ c) / x.size
    through = upstream[mask] - pull  # gradient at y
    by_logits = softmax_gradient(p, through @ c.T)
    np.testing.assert_allclose(by_inputs[mask], 2.0 * pull + by_logits @ c, rtol=1e-4, atol=1e-5)
    assert (by_inputs[~mask] == 0).all()
    wanted = one_hot.T @ (through - beta * pull) + by_logits.T @ x
    np.testing.assert_allclose(by_codes, wanted, rtol=1e-4, atol=1e-5)
    assert (by_codes != 0).all()  # all code vectors have a gradient

    quantizer(shown, mask=given)
    loss = (2.0 + beta) * np.mean((x - one_hot @ c) ** 2)
    np.testing.assert_allclose(numpy(sum(quantizer.losses)), loss, rtol=1e-5)


def test_entropy_loss(codes, inputs):
    plain, entropic = build(codes), build(codes, entropy=EntropyLoss(0.3, 0.6, 0.5))
    for quantizer in (plain, entropic):
        quantizer(inputs)
    p = softmax(inputs.reshape(-1, DIM).astype("float64") @ codes.T / 0.5)
    mean = p.mean(axis=0)
    expected = -0.3 * np.sum(p * np.log(p), -1).mean() + 0.6 * np.sum(mean * np.log(mean))
    added = numpy(sum(entropic.losses)) - numpy(sum(plain.losses))
    np.testing.assert_allclose(added, expected, rtol=1e-4)


def test_lowest_of_equal_products_wins():
    codes = np.array([[0, 1], [1, 0], [1, 0]], "float32")
    for training in (False, True):
        _, indices = build(codes)(np.array([[0, 0], [1, 0]], "float32"), training=training)
        np.testing.assert_array_equal(numpy(indices), [0, 1])


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codebook_size": 2.0}, r"`codebook_size` must be.*Received: 2\.0"),
        (
            {"codebook_size": 4, "codebook_loss_weight": -1.0},
            r"`codebook_loss_weight` must be.*-1\.0",
        ),
        ({"codebook_size": 4, "entropy_loss": -1.0}, r"`entropy_loss` must be.*-1\.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        IndexBackpropagationQuantizer(**arguments)


def test_all_codes_move_in_training_and_come_back_from_a_file(inputs, tmp_path):
    vectors = inputs.reshape(-1, DIM)
    given = keras.Input((DIM,))
    quantizer = IndexBackpropagationQuantizer(32)
    quantized, indices = quantizer(keras.layers.Dense(DIM)(given))
    model = keras.Model(given, [keras.layers.Dense(DIM)(quantized), indices])
    model.compile(keras.optimizers.SGD(0.1), loss=["mse", None])
    before = numpy(quantizer.embeddings).copy()
    kernel = numpy(model.layers[1].kernel).copy()
    model.fit(vectors, vectors, verbose=0)
    assert (numpy(quantizer.embeddings) != before).any(axis=-1).all()
    assert (numpy(model.layers[1].kernel) != kernel).any()
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    outputs = (made.predict(vectors, verbose=0) for made in (model, copy))
    for ours, theirs in zip(*outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_logits_of_codes_with_a_common_offset(rng):
    """A common offset of code vectors changes neither codes nor entropies."""
    vectors = rng.normal(size=(100, 8)).astype("float32")
    codes = (1000 + rng.normal(size=(32, 8))).astype("float32")
    quantizer = IndexBackpropagationQuantizer(32)
    quantizer.build((None, 8))
    quantizer.embeddings.assign(codes)
    logits = vectors.astype("float64") @ (codes.astype("float64") - 1000).T
    np.testing.assert_array_equal(numpy(quantizer.encode(vectors)), logits.argmax(1))
    _, indices = quantizer(vectors, training=True)
    np.testing.assert_array_equal(numpy(indices), logits.argmax(1))
