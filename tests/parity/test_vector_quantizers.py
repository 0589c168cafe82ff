"""Tests of vector quantizers against Sonnet and vector-quantize-pytorch ("VQP")."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from tests.gradients import gradients
from tests.parity.golden import (
    CLOSE,
    GRADIENT_CLOSE,
    built,
    check_answer,
    compiled,
    constant,
    golden,
    input_gradient,
    loss_of,
    numpy,
    with_prefix,
)


def perplexity(indices, codebook_size):
    metric = keras_vq.metrics.Perplexity(codebook_size)
    metric.update_state(indices)
    return float(numpy(metric.result()))


def check_steps(quantizer, file, mask=None):
    """Compares training steps, and the codebook after each, with golden arrays."""
    for step, inputs in enumerate(file["inputs"]):
        step_mask = None if mask is None else mask[step]
        (gradient,) = input_gradient(quantizer, inputs, file["upstream"], mask=step_mask)
        np.testing.assert_allclose(gradient, file["input_gradients"][step], **GRADIENT_CLOSE)
        quantized, indices = quantizer(inputs, mask=step_mask, training=True)
        np.testing.assert_array_equal(numpy(indices), file["indices"][step])
        np.testing.assert_allclose(numpy(quantized), file["quantized"][step], **CLOSE)
        np.testing.assert_allclose(loss_of(quantizer), file["loss"][step], rtol=1e-5)
        np.testing.assert_allclose(numpy(quantizer.code_vectors()), file["codebook"][step], **CLOSE)
        counts = numpy(quantizer.codebook.recent_counts())
        np.testing.assert_allclose(counts, file["cluster_size"][step], rtol=1e-5, atol=1e-5)


def test_sonnet_gradient_codebook():
    file = golden("sonnet_vq")
    codebook = keras_vq.GradientCodebook(32, initializer=constant(file["initial_codebook"]))
    quantizer = built(codebook, file["initial_codebook"])

    quantized, indices = quantizer(file["inputs"], training=True)
    np.testing.assert_array_equal(numpy(indices), file["indices"])
    np.testing.assert_allclose(numpy(quantized), file["quantized"], **CLOSE)
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
    codebook = keras_vq.GradientCodebook(32, initializer=constant(file["initial_codebook"]))
    quantizer = built(codebook, file["initial_codebook"], commitment_weight=commitment)
    optimizer = keras.optimizers.SGD(10.0)

    for step, inputs in enumerate(file["step_inputs"]):
        _, indices = quantizer(inputs, training=True)
        np.testing.assert_array_equal(numpy(indices), file["step_indices"][step])
        if name == "sonnet_vq":
            np.testing.assert_allclose(loss_of(quantizer), file["step_loss"][step], rtol=1e-5)
        _, by_codes = input_gradient(quantizer, inputs, 0.0, [codebook.embeddings])
        optimizer.apply([ops.convert_to_tensor(by_codes)], [codebook.embeddings])
        codes = numpy(codebook.code_vectors())
        np.testing.assert_allclose(codes, file["step_codebook"][step], **CLOSE)


def test_vqp_learnable_codebook():
    # The single loss of VQP equals codebook loss + commitment loss with weight 1.
    file = golden("vqp_learnable")
    codebook = keras_vq.GradientCodebook(32, initializer=constant(file["initial_codebook"]))
    quantizer = built(codebook, file["initial_codebook"], commitment_weight=1.0)

    _, indices = quantizer(file["inputs"], training=True)
    np.testing.assert_array_equal(numpy(indices), file["indices"])
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
    quantizer = built(codebook, codes, commitment_weight=1.0)
    check_steps(quantizer, file)
    check_answer(quantizer, with_prefix(file, "eval_"))


def test_vqp_mask():
    file = golden("vqp_masked")
    codes = file["initial_codebook"]
    codebook = keras_vq.EMACodebook(32, decay=0.8, initializer=constant(codes))
    check_steps(built(codebook, codes, commitment_weight=1.0), file, mask=file["mask"])


def test_vqp_cosine():
    file = golden("vqp_cosine")
    codes = file["initial_codebook"]
    codebook = keras_vq.EMACodebook(32, decay=0.8, initializer=constant(codes))
    check_steps(built(codebook, codes, commitment_weight=1.0, metric="cosine"), file)


def test_vqp_rotation_trick():
    file = golden("vqp_rotation")
    codes = file["initial_codebook"]
    codebook = keras_vq.EMACodebook(32, decay=0.8, initializer=constant(codes))
    quantizer = built(codebook, codes, commitment_weight=1.0, estimator="rotation_trick")
    (gradient,) = input_gradient(quantizer, file["inputs"], file["upstream"])
    np.testing.assert_allclose(gradient, file["input_gradients"], rtol=1e-5, atol=1e-6)

    check_answer(quantizer, file, training=True)
    np.testing.assert_allclose(numpy(codebook.code_vectors()), file["codebook"], **CLOSE)


def test_vqp_rotation_function():
    file = golden("vqp_rotation")
    # For nearly opposite vectors (kind 3), rounding determines the plane of rotation.
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
    # The threshold of VQP is a count of 2; here it is relative to the mean count, 256 / 32.
    share = 2 * 32 / 256
    for step, inputs in enumerate(file["inputs"]):
        # Each step starts from the VQP state, because restarts draw random rows.
        restart = keras_vq.DeadCodeRestart(share, restart_count=share, sampling="uniform")
        codebook = keras_vq.EMACodebook(
            32, decay=0.8, restart=restart, initializer=constant(codes), seed=step
        )
        quantizer = built(codebook, codes, commitment_weight=1.0)
        # Initial counts are 1 in VQP; with an initializer, they are the mean count here.
        codebook.ema_counts.assign(file["cluster_size"][step - 1] if step else np.ones(32))
        codebook.ema_sums.assign(file["embed_avg"][step - 1] if step else codes)
        quantizer(inputs, training=True)

        restarted = file["restarted"][step]
        ours = numpy(codebook.code_vectors())
        counts = numpy(codebook.ema_counts)
        sums = numpy(codebook.ema_sums)
        rows = {row.tobytes() for row in inputs.astype("float32")}
        assert [row.tobytes() in rows for row in ours] == restarted.tolist()
        np.testing.assert_allclose(counts[restarted], 2.0, rtol=1e-6)
        np.testing.assert_allclose(sums[restarted], 2.0 * ours[restarted], rtol=1e-6)
        alive = ~restarted
        np.testing.assert_allclose(ours[alive], file["codebook"][step][alive], **CLOSE)
        np.testing.assert_allclose(counts[alive], file["cluster_size"][step][alive], rtol=1e-5)
        np.testing.assert_allclose(sums[alive], file["embed_avg"][step][alive], **CLOSE)
        codes = file["codebook"][step]


# Directional --------------------------------------------------------------------------------------


def directional(file, deviation):
    codebook = keras_vq.GradientCodebook(
        32, codebook_loss_weight=0.0, initializer=constant(file["codebook"])
    )
    estimator = keras_vq.estimators.Directional(deviation)
    return built(codebook, file["codebook"], commitment_weight=0.0, estimator=estimator)


def check_directional(quantizer, file, inputs, upstream):
    quantized, indices = quantizer(inputs, training=True)
    np.testing.assert_array_equal(numpy(indices), file["indices"])
    np.testing.assert_allclose(numpy(quantized), file["quantized"], rtol=1e-5, atol=1e-5)
    assert loss_of(quantizer) == file["loss"] == 0.0
    by_input, by_codes = input_gradient(
        quantizer,
        inputs,
        upstream,
        [quantizer.codebook.embeddings],
        training=True,
        whole=True,
    )
    np.testing.assert_allclose(by_input, file["input_gradients"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_codes, file["codebook_gradients"], rtol=1e-4, atol=1e-5)


def test_vqp_directional():
    file = golden("vqp_directional")
    # Noise can't be 0 in VQP, so its standard deviation is 1e-6.
    quantizer = directional(file, deviation=0.0)
    check_directional(quantizer, file, file["inputs"], file["upstream"])
    quantized, _ = quantizer(file["inputs"], training=False)
    np.testing.assert_allclose(numpy(quantized), file["eval_quantized"], **CLOSE)


def test_vqp_directional_with_noise(monkeypatch):
    file = golden("vqp_directional")
    quantizer = directional(file, deviation=0.005**0.5)
    monkeypatch.setattr(
        keras.random, "normal", lambda *args, **kwargs: ops.convert_to_tensor(file["noisy_noise"])
    )
    # Results with noise for the same inputs and codebook.
    noisy = with_prefix(file, "noisy_")
    check_directional(quantizer, noisy, file["inputs"], file["upstream"])


# Other codebook updates ---------------------------------------------------------------------------


def test_vqp_in_place_optimizer():
    file = golden("vqp_in_place")

    def stepping(codes):
        codebook = keras_vq.SGDCodebook(32, learning_rate=3.0, initializer=constant(codes))
        return built(codebook, codes, commitment_weight=1.0)

    quantizer = stepping(file["initial_codebook"])
    for step, inputs in enumerate(file["inputs"]):
        before = stepping(numpy(quantizer.code_vectors()))
        (gradient,) = input_gradient(before, inputs, file["upstream"], training=True)
        np.testing.assert_allclose(gradient, file["input_gradients"][step], **GRADIENT_CLOSE)

        np.testing.assert_array_equal(numpy(quantizer.encode(inputs)), file["first_indices"][step])
        quantized, indices = quantizer(inputs, training=True)
        np.testing.assert_array_equal(numpy(indices), file["indices"][step])
        np.testing.assert_allclose(numpy(quantized), file["quantized"][step], **CLOSE)
        np.testing.assert_allclose(loss_of(quantizer), file["loss"][step], rtol=1e-5)
        np.testing.assert_allclose(numpy(quantizer.code_vectors()), file["codebook"][step], **CLOSE)


@pytest.mark.parametrize(
    ("prefix", "estimator"), [("straight_", "straight_through"), ("rotation_", "rotation_trick")]
)
def test_vqp_simvq(prefix, estimator):
    file = golden("vqp_simvq")
    expected = with_prefix(file, prefix)
    codebook = keras_vq.ProjectedCodebook(32, initializer=constant(file["frozen_codebook"]))
    quantizer = built(codebook, file["frozen_codebook"], estimator=estimator)
    codebook.layer.kernel.assign(file["kernel"])
    np.testing.assert_allclose(numpy(quantizer.code_vectors()), file["codebook"], **CLOSE)

    check_answer(quantizer, expected, inputs=file["inputs"], training=True)
    np.testing.assert_allclose(loss_of(quantizer), expected["loss"], rtol=1e-5)
    by_input, by_kernel = input_gradient(
        quantizer, file["inputs"], file["upstream"], [codebook.layer.kernel], training=True
    )
    close = GRADIENT_CLOSE if prefix == "straight_" else CLOSE
    np.testing.assert_allclose(by_input, expected["input_gradients"], **close)
    np.testing.assert_allclose(by_kernel, expected["kernel_gradients"], **CLOSE)


# Auxiliary losses ---------------------------------------------------------------------------------


def test_vqp_orthogonality():
    file = golden("vqp_losses")
    penalty = keras_vq.regularizers.Orthogonality()
    active = np.unique(file["indices"])
    for prefix, rows in ("orthogonal_", np.arange(32)), ("orthogonal_active_", active):
        codes = file["codebook"][rows]
        # Both subtract 1 / K for the cosines of code vectors with themselves.
        np.testing.assert_allclose(
            float(numpy(penalty(codes))), file[prefix + "loss"], rtol=1e-5, atol=1e-7
        )
        (gradient,) = gradients(compiled(penalty), codes)
        expected = file[prefix + "codebook_gradients"][rows]
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


def cross_entropy(inputs, codes, indices, squared):
    """Computes the mean cross-entropy of softmax(-|x - e|ᵖ) and its gradient in float64."""
    steps = inputs[..., None, :].astype("float64") - codes
    lengths = np.sqrt(np.sum(steps**2, axis=-1))
    logits = -(lengths**2) if squared else -lengths
    slopes = -2.0 * steps if squared else -steps / lengths[..., None]
    log_p = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    kept = indices >= 0
    one_hot = np.eye(len(codes))[np.maximum(indices, 0)]
    loss = -np.sum(np.sum(log_p * one_hot, axis=-1)[kept]) / kept.sum()
    by_logits = (np.exp(log_p) - one_hot) * kept[..., None] / kept.sum()
    return loss, np.sum(by_logits[..., None] * slopes, axis=-2)


@pytest.mark.parametrize(
    ("prefix", "name"), [("commitment_", "indices"), ("given_", "given_indices")]
)
def test_vqp_cross_entropy(prefix, name):
    # Logits are -|x - e| in VQP and -|x - e|² here, so compare each with the formula.
    file = golden("vqp_losses")
    inputs, codes, indices = file["inputs"], file["codebook"], file[name]
    loss, gradient = cross_entropy(inputs, codes, indices, squared=False)
    np.testing.assert_allclose(loss, file[prefix + "loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, file[prefix + "input_gradients"], rtol=1e-4, atol=1e-6)

    loss, gradient = cross_entropy(inputs, codes, indices, squared=True)
    codebook = keras_vq.GradientCodebook(32, codebook_loss_weight=0.0, initializer=constant(codes))
    commitment = keras_vq.losses.CrossEntropyCommitmentLoss()
    quantizer = built(codebook, codes, commitment_weight=1.0, commitment_loss=commitment)
    variables = [codebook.embeddings]
    if prefix == "commitment_":
        quantizer(inputs, training=True)
        ours = loss_of(quantizer)
        by_input, by_codes = input_gradient(quantizer, inputs, 0.0, variables, whole=True)
        # In VQP it also trains the codebook; here only the codebook loss does.
        assert not by_codes.any()
    else:
        mask = indices >= 0

        def of_given(x):
            return quantizer.cross_entropy(x, np.maximum(indices, 0), mask)

        ours = float(numpy(of_given(inputs)))
        (by_input,) = gradients(compiled(of_given), inputs)
    np.testing.assert_allclose(ours, loss, rtol=1e-5)
    np.testing.assert_allclose(by_input, gradient, rtol=1e-4, atol=1e-7)


def diversity(distances, temperature):
    """Computes the negative entropy of the mean of softmax(-d / T) over vectors in float64."""
    logits = -distances.reshape(-1, distances.shape[-1]) / temperature
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    mean = np.mean(p / p.sum(axis=-1, keepdims=True), axis=0)
    return np.sum(mean * np.log(np.maximum(mean, 1e-300)))


@pytest.mark.parametrize("inverse", [10, 100])
def test_vqp_diversity(inverse):
    # VQP uses distances that are not squared, and averages over the batch for each position.
    file = golden("vqp_losses")
    inputs, codes = file["inputs"], file["codebook"]
    entropy = keras_vq.losses.EntropyLoss(
        per_sample_weight=0.0, batch_weight=1.0, temperature=1.0 / inverse
    )

    def of_position(x):
        steps = ops.subtract(x[:, None, :], codes)
        return entropy(ops.sqrt(ops.sum(ops.square(steps), axis=-1)))

    function = compiled(of_position)
    positions = [inputs[:, position] for position in range(8)]
    losses = [float(numpy(function(ops.convert_to_tensor(x)))) for x in positions]
    np.testing.assert_allclose(np.mean(losses), file[f"diversity{inverse}_loss"], rtol=1e-3)
    gradient = np.stack([gradients(function, x)[0] for x in positions], axis=1) / 8.0
    expected = file[f"diversity{inverse}_input_gradients"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-2, atol=1e-3 * np.abs(expected).max())

    # keras_vq uses squared distances and averages over all vectors.
    quantizer = built(
        keras_vq.GradientCodebook(32, codebook_loss_weight=0.0, initializer=constant(codes)),
        codes,
        commitment_weight=0.0,
        entropy_loss=entropy,
    )
    quantizer(inputs, training=True)
    squared = np.sum((inputs[..., None, :].astype("float64") - codes) ** 2, axis=-1)
    np.testing.assert_allclose(loss_of(quantizer), diversity(squared, 1.0 / inverse), rtol=1e-4)
