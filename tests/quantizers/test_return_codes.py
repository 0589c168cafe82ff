"""Tests of `return_codes=False`, and of metrics of codes in `compile`."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from tests.models.cases import IMAGE_SHAPE, MODEL_CASES
from tests.quantizers.cases import QUANTIZER_CASES


def rebuilt(quantizer, return_codes):
    """Returns a quantizer with the same configuration and seeds except for `return_codes`."""
    config = {**quantizer.get_config(), "return_codes": return_codes}
    keras.utils.set_random_seed(1)
    return type(quantizer).from_config(config)


def trained(quantizer, vectors, mask=None, **call_arguments):
    """Returns outputs, loss and updated weights of a training call."""
    quantizer.build(vectors.shape)
    for number, weight in enumerate(quantizer.weights):
        if weight.dtype == "float32":
            rng = np.random.default_rng(number)
            weight.assign(rng.uniform(0.5, 1.5, weight.shape).astype("float32"))
    outputs = quantizer(vectors, mask=mask, training=True, **call_arguments)
    loss = ops.convert_to_numpy(sum(quantizer.losses, start=0.0))
    return outputs, loss, [ops.convert_to_numpy(weight) for weight in quantizer.weights]


@pytest.mark.parametrize("case", QUANTIZER_CASES, ids=lambda case: case.id)
def test_quantized_vectors_alone_are_those_of_the_pair(case, rng):
    vectors = rng.normal(size=(3, 5, 5, 4)).astype("float32")
    mask = rng.random((3, 5, 5)) < 0.7
    pair, *expected = trained(rebuilt(case.build(), True), vectors, mask)
    alone = rebuilt(case.build(), False)
    quantized, *found = trained(alone, vectors, mask)
    np.testing.assert_array_equal(ops.convert_to_numpy(quantized), ops.convert_to_numpy(pair[0]))
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        np.testing.assert_array_equal(one, other)

    assert alone.get_config()["return_codes"] is False
    symbolic = keras.KerasTensor((None, 5, 5, 4))
    output_shape = (None, 5, 5, case.output_dim)
    assert alone.compute_output_shape(symbolic.shape) == alone(symbolic).shape == output_shape
    assert len(alone(symbolic, return_codes=True)) == 2
    assert case.build()(symbolic, return_codes=False).shape == output_shape


def test_mask_passes_a_quantizer_in_sequential(rng):
    inputs = rng.normal(size=(2, 5, 4)).astype("float32")
    inputs[:, 3:] = 0
    model = keras.Sequential(
        [
            keras.Input((5, 4)),
            keras.layers.Masking(),
            keras_vq.VectorQuantizer(8, return_codes=False),
            keras.layers.LSTM(3),
        ]
    )
    np.testing.assert_allclose(
        model.predict(inputs, verbose=0), model.predict(inputs[:, :3], verbose=0), rtol=1e-5
    )


def test_vqvae_in_sequential_trains_and_comes_back_from_a_file(rng, tmp_path):
    """Trains a VQ-VAE as a Sequential model, as in Keras guides."""
    images = rng.random((32, 8, 8, 1)).astype("float32")
    quantizer = keras_vq.VectorQuantizer(16, return_codes=False)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 4, strides=2, padding="same", activation="relu"),
            keras.layers.Conv2D(4, 1),
            quantizer,
            keras.layers.Conv2DTranspose(1, 4, strides=2, padding="same"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), loss="mse")
    before = [ops.convert_to_numpy(weight).copy() for weight in model.weights]
    loss = model.fit(images, images, epochs=6, batch_size=8, verbose=0).history["loss"]
    assert loss[-1] < 0.5 * loss[0]
    for old, new in zip(before, model.weights, strict=True):
        assert new.dtype != "float32" or (old != ops.convert_to_numpy(new)).any(), new.path

    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert copy.output_shape == (None, 8, 8, 1)
    expected = model.predict(images, verbose=0)
    np.testing.assert_array_equal(copy.predict(images, verbose=0), expected)
    codes = quantizer.encode(model.layers[1](model.layers[0](images)))
    made = model.layers[3](quantizer.decode(codes))
    np.testing.assert_allclose(ops.convert_to_numpy(made), expected, rtol=1e-4, atol=1e-5)


CODE_MODELS = [case for case in MODEL_CASES if case.id in ("vqvae_ema", "vqvae2", "vqgan")]


@pytest.mark.parametrize("case", CODE_MODELS, ids=lambda case: case.id)
def test_models_take_a_quantizer_that_returns_no_codes(case, rng):
    images = rng.random((4, *IMAGE_SHAPE)).astype("float32")
    model = case.build()
    expected = model.encode(images), model.reconstruct(images)
    config, weights = model.get_config(), model.get_weights()
    for name in config:
        if name.endswith("quantizer"):
            config[name]["config"]["return_codes"] = False
    model = type(model).from_config(config)
    model.set_weights(weights)
    assert not any(quantizer.return_codes for quantizer in model._quantizers().values())
    found = model.encode(images), model.reconstruct(images)
    outputs = model(images)
    for one, other in zip(
        keras.tree.flatten([found, outputs["codes"]]),
        keras.tree.flatten([expected, expected[0]]),
        strict=True,
    ):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))


METRICS = (keras_vq.metrics.Perplexity, keras_vq.metrics.CodebookUsage)


def test_metrics_of_codes_in_compile(rng):
    vectors = rng.normal(size=(64, 4)).astype("float32")
    inputs = keras.Input((4,))
    quantized, codes = keras_vq.VectorQuantizer(16)(inputs)
    model = keras.Model(inputs, {"quantized": quantized, "codes": codes})
    metrics = [kind(16) for kind in METRICS]
    model.compile(loss={"quantized": "mse"}, metrics={"codes": metrics})
    targets = {"quantized": vectors, "codes": np.zeros(64, "int32")}
    logs = model.evaluate(vectors, targets, batch_size=16, return_dict=True, verbose=0)
    counts = np.bincount(model.predict(vectors, verbose=0)["codes"], minlength=16) / 64
    entropy = -(counts[counts > 0] * np.log(counts[counts > 0])).sum()
    assert logs["codes_perplexity"] == pytest.approx(np.exp(entropy), rel=1e-5)
    assert logs["codes_codebook_usage"] == pytest.approx((counts > 0).mean())

    # A model with codes as its only output.
    encoder = keras.Model(inputs, codes)
    encoder.compile(metrics=[kind(16) for kind in METRICS])
    alone = encoder.evaluate(vectors, np.zeros(64), return_dict=True, verbose=0)
    assert alone["perplexity"] == pytest.approx(np.exp(entropy), rel=1e-5)


@pytest.mark.parametrize("kind", METRICS)
def test_metrics_of_codes_refuse_reconstructions(kind, rng):
    model = CODE_MODELS[0].build()
    model.compile("adam", metrics=[kind(16)])
    images = rng.random((4, *IMAGE_SHAPE)).astype("float32")
    with pytest.raises(ValueError, match="must be codes, which are integers"):
        model.evaluate(images, verbose=0)
