"""The quantizer against what Sonnet and vector-quantize-pytorch answered to the same numbers.

`goldens/README.md` says what the arrays are and how they were made.
"""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from tests.gradients import gradients

FOLDER = Path(__file__).parent / "goldens"
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
# The commitment term adds about 1e-4 to a gradient: 1e-7 sees a wrong weight of it.
GRADIENT_CLOSE = {"rtol": 1e-5, "atol": 1e-7}


def golden(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def constant(codes):
    return keras.initializers.Constant(codes)


def built(codebook, codes, **options):
    """A quantizer whose codebook starts with these codes."""
    quantizer = keras_vq.VectorQuantizer(codebook, **options)
    quantizer.build((None, codes.shape[1]))
    return quantizer


def loss_of(quantizer):
    return float(ops.convert_to_numpy(sum(quantizer.losses, start=0.0)))


def input_gradient(quantizer, inputs, upstream, variables=(), training=False, mask=None):
    def function(x):
        quantized, _ = quantizer(x, mask=mask, training=training)
        return sum(quantizer.losses, start=0.0) + ops.sum(ops.multiply(quantized, upstream))

    return gradients(function, inputs, variables)


def perplexity(indices, codebook_size):
    metric = keras_vq.metrics.Perplexity(codebook_size)
    metric.update_state(indices)
    return float(ops.convert_to_numpy(metric.result()))


def check_steps(quantizer, file, mask=None):
    """Ten training steps: what each returned, and the codebook after it."""
    for step, inputs in enumerate(file["inputs"]):
        step_mask = None if mask is None else mask[step]
        (gradient,) = input_gradient(quantizer, inputs, file["upstream"], mask=step_mask)
        np.testing.assert_allclose(gradient, file["input_gradients"][step], **GRADIENT_CLOSE)
        quantized, indices = quantizer(inputs, mask=step_mask, training=True)
        np.testing.assert_array_equal(ops.convert_to_numpy(indices), file["indices"][step])
        np.testing.assert_allclose(
            ops.convert_to_numpy(quantized), file["quantized"][step], **CLOSE
        )
        np.testing.assert_allclose(loss_of(quantizer), file["loss"][step], rtol=1e-5)
        codes = ops.convert_to_numpy(quantizer.codebook.codes())
        np.testing.assert_allclose(codes, file["codebook"][step], **CLOSE)
        counts = ops.convert_to_numpy(quantizer.codebook.recent_counts())
        np.testing.assert_allclose(counts, file["cluster_size"][step], rtol=1e-5, atol=1e-5)


def test_sonnet_gradient_codebook():
    file = golden("sonnet_vq")
    codebook = keras_vq.Codebook(32, initializer=constant(file["initial_codebook"]))
    quantizer = built(codebook, file["initial_codebook"])

    quantized, indices = quantizer(file["inputs"], training=True)
    np.testing.assert_array_equal(ops.convert_to_numpy(indices), file["indices"])
    np.testing.assert_allclose(ops.convert_to_numpy(quantized), file["quantized"], **CLOSE)
    np.testing.assert_allclose(loss_of(quantizer), file["loss"], rtol=1e-5)
    np.testing.assert_allclose(perplexity(indices, 32), file["perplexity"], rtol=1e-5)

    by_input, by_codes = input_gradient(
        quantizer, file["inputs"], file["upstream"], [codebook.embeddings], training=True
    )
    np.testing.assert_allclose(by_input, file["input_gradients"], **GRADIENT_CLOSE)
    np.testing.assert_allclose(by_codes, file["codebook_gradients"], **GRADIENT_CLOSE)


@pytest.mark.parametrize(("name", "commitment"), [("sonnet_vq", 0.25), ("vqp_learnable", 1.0)])
def test_gradient_codebook_over_ten_steps(name, commitment):
    file = golden(name)
    codebook = keras_vq.Codebook(32, initializer=constant(file["initial_codebook"]))
    quantizer = built(codebook, file["initial_codebook"], commitment=commitment)
    optimizer = keras.optimizers.SGD(10.0)

    for step, inputs in enumerate(file["step_inputs"]):
        _, indices = quantizer(inputs, training=True)
        np.testing.assert_array_equal(ops.convert_to_numpy(indices), file["step_indices"][step])
        if name == "sonnet_vq":
            np.testing.assert_allclose(loss_of(quantizer), file["step_loss"][step], rtol=1e-5)
        _, by_codes = input_gradient(quantizer, inputs, 0.0, [codebook.embeddings])
        optimizer.apply([ops.convert_to_tensor(by_codes)], [codebook.embeddings])
        codes = ops.convert_to_numpy(codebook.codes())
        np.testing.assert_allclose(codes, file["step_codebook"][step], **CLOSE)


def test_vqp_learnable_codebook():
    # Its one loss term pulls codes and inputs alike: codebook loss + commitment of weight 1.
    file = golden("vqp_learnable")
    codebook = keras_vq.Codebook(32, initializer=constant(file["initial_codebook"]))
    quantizer = built(codebook, file["initial_codebook"], commitment=1.0)

    _, indices = quantizer(file["inputs"], training=True)
    np.testing.assert_array_equal(ops.convert_to_numpy(indices), file["indices"])
    np.testing.assert_allclose(loss_of(quantizer), 2 * file["loss"], rtol=1e-5)
    by_input, by_codes = input_gradient(
        quantizer, file["inputs"], file["upstream"], [codebook.embeddings], training=True
    )
    np.testing.assert_allclose(by_input, file["input_gradients"], **GRADIENT_CLOSE)
    np.testing.assert_allclose(by_codes, file["codebook_gradients"], **GRADIENT_CLOSE)


@pytest.mark.parametrize(("name", "decay"), [("sonnet_ema", 0.99), ("sonnet_ema_fast", 0.8)])
def test_sonnet_moving_averages(name, decay):
    file = golden(name)
    codes = file["initial_codebook"]
    codebook = keras_vq.EMACodebook(32, decay, bias_correction=True, initializer=constant(codes))
    check_steps(built(codebook, codes), file)


def test_vqp_moving_averages():
    file = golden("vqp_ema")
    codes = file["initial_codebook"]
    codebook = keras_vq.EMACodebook(32, decay=0.8, initializer=constant(codes))
    quantizer = built(codebook, codes, commitment=1.0)
    check_steps(quantizer, file)

    quantized, indices = quantizer(file["eval_inputs"], training=False)
    np.testing.assert_array_equal(ops.convert_to_numpy(indices), file["eval_indices"])
    np.testing.assert_allclose(ops.convert_to_numpy(quantized), file["eval_quantized"], **CLOSE)


def test_vqp_mask():
    file = golden("vqp_masked")
    codes = file["initial_codebook"]
    codebook = keras_vq.EMACodebook(32, decay=0.8, initializer=constant(codes))
    check_steps(built(codebook, codes, commitment=1.0), file, mask=file["mask"])


def test_vqp_rotation_trick():
    file = golden("vqp_rotation")
    codes = file["initial_codebook"]
    codebook = keras_vq.EMACodebook(32, decay=0.8, initializer=constant(codes))
    quantizer = built(codebook, codes, commitment=1.0, estimator="rotation_trick")
    (gradient,) = input_gradient(quantizer, file["inputs"], file["upstream"])
    np.testing.assert_allclose(gradient, file["input_gradients"], rtol=1e-5, atol=1e-6)

    quantized, indices = quantizer(file["inputs"], training=True)
    np.testing.assert_array_equal(ops.convert_to_numpy(indices), file["indices"])
    np.testing.assert_allclose(ops.convert_to_numpy(quantized), file["quantized"], **CLOSE)
    after = ops.convert_to_numpy(codebook.codes())
    np.testing.assert_allclose(after, file["codebook"], **CLOSE)


def test_vqp_rotation_function():
    file = golden("vqp_rotation")
    # Almost opposite vectors (kind 3) leave the plane of rotation to rounding.
    kept = file["rotate_kinds"] != 3
    targets, upstream = file["rotate_targets"][kept], file["rotate_upstream"][kept]
    (gradient,) = gradients(
        lambda x: ops.sum(ops.multiply(keras_vq.estimators.rotation_trick(x, targets), upstream)),
        file["rotate_sources"][kept],
    )
    expected = file["rotate_gradients"][kept]
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_vqp_restart():
    file = golden("vqp_restart")
    codes = file["initial_codebook"]
    # Their threshold is a count of 2; ours the share of the mean count, 256 / 32.
    share = 2 * 32 / 256
    for step, inputs in enumerate(file["inputs"]):
        # Each step from their state before it: which rows codes restart on is drawn at random.
        restart = keras_vq.DeadCodeRestart(share, reset=share, sampling="uniform")
        codebook = keras_vq.EMACodebook(
            32, decay=0.8, restart=restart, initializer=constant(codes), seed=step
        )
        quantizer = built(codebook, codes, commitment=1.0)
        if step:
            codebook.average_counts.assign(file["cluster_size"][step - 1])
            codebook.average_sums.assign(file["embed_avg"][step - 1])
        quantizer(inputs, training=True)

        restarted = file["restarted"][step]
        ours = ops.convert_to_numpy(codebook.codes())
        counts = ops.convert_to_numpy(codebook.average_counts)
        sums = ops.convert_to_numpy(codebook.average_sums)
        rows = {row.tobytes() for row in inputs.astype("float32")}
        assert [row.tobytes() in rows for row in ours] == restarted.tolist()
        np.testing.assert_allclose(counts[restarted], 2.0, rtol=1e-6)
        np.testing.assert_allclose(sums[restarted], 2.0 * ours[restarted], rtol=1e-6)
        alive = ~restarted
        np.testing.assert_allclose(ours[alive], file["codebook"][step][alive], **CLOSE)
        np.testing.assert_allclose(counts[alive], file["cluster_size"][step][alive], rtol=1e-5)
        np.testing.assert_allclose(sums[alive], file["embed_avg"][step][alive], **CLOSE)
        codes = file["codebook"][step]
