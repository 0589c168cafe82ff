"""Residual and grouped quantizers against vector-quantize-pytorch ("VQP").

In VQP each stage adds the identity to the input gradient, so the upstream gradient is multiplied by
the number of stages. In keras_vq it counts once; the commitment gradients are equal.
"""

import keras
import numpy as np
from keras import ops

import keras_vq
from tests.parity.golden import (
    CLOSE,
    check_answer,
    constant,
    golden,
    input_gradient,
    loss_of,
    numpy,
    with_prefix,
)

# Golden gradients contain the upstream of all stages, summed in float32.
GRADIENT_CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def level(codes, decay=0.8):
    codebook = keras_vq.EMACodebook(16, decay, initializer=constant(codes))
    return keras_vq.VectorQuantizer(codebook=codebook, commitment_weight=1.0)


def residual(codebooks, **options):
    quantizer = keras_vq.ResidualQuantizer([level(codes) for codes in codebooks], **options)
    quantizer.build((None, codebooks.shape[-1]))
    return quantizer


def all_codes(quantizer):
    return np.stack([numpy(part.code_vectors()) for part in quantizer.quantizers])


def test_vqp_residual():
    file = golden("vqp_residual")
    quantizer = residual(file["initial_codebooks"])
    upstream = file["upstream"]
    for step, inputs in enumerate(file["inputs"]):
        (gradient,) = input_gradient(quantizer, inputs, upstream)
        expected = file["input_gradients"][step] - 4.0 * upstream + upstream
        np.testing.assert_allclose(gradient, expected, **GRADIENT_CLOSE)

        quantized, indices = quantizer(inputs, training=True)
        np.testing.assert_array_equal(numpy(indices), file["indices"][step])
        np.testing.assert_allclose(numpy(quantized), file["quantized"][step], **CLOSE)
        np.testing.assert_allclose(loss_of(quantizer), file["losses"][step].sum(), rtol=1e-5)
        np.testing.assert_allclose(all_codes(quantizer), file["codebooks"][step], **CLOSE)
        counts = [numpy(part.codebook.recent_counts()) for part in quantizer.quantizers]
        np.testing.assert_allclose(counts, file["cluster_sizes"][step], rtol=1e-5)

    evaluation = with_prefix(file, "eval_")
    check_answer(quantizer, evaluation)
    np.testing.assert_allclose(
        numpy(quantizer.decode(evaluation["indices"])), evaluation["quantized"], **CLOSE
    )
    # Only the first stages; the codes of the others are -1.
    some = np.where(np.arange(4) < 2, evaluation["indices"], -1)
    expected = evaluation["all_codes"][:2].sum(axis=0)
    np.testing.assert_allclose(numpy(quantizer.decode(some)), expected, **CLOSE)


def test_vqp_beam_search():
    # VQP ranks candidates by the sum of the errors of all stages, keras_vq by the last error, which
    # is the second beam search in the file.
    file = golden("vqp_residual")
    inputs = file["eval_inputs"]
    quantized, indices = residual(file["codebooks"][-1], beam_size=4)(inputs, training=False)
    np.testing.assert_array_equal(numpy(indices), file["last_error_beam_indices"])
    errors = np.sum((inputs - numpy(quantized)) ** 2, axis=-1)
    np.testing.assert_allclose(errors, file["last_error_beam_errors"], rtol=1e-4)
    assert errors.mean() < file["beam_errors"].mean() < file["greedy_errors"].mean()


def moved(inputs, codes, indices, decays):
    """Computes the shared codebook after an update from all stages, in float64."""
    counts, sums = np.ones(len(codes)), codes.astype("float64")
    left = inputs.astype("float64")
    all_counts, all_sums = [], []
    for chosen in indices.T:
        one_hot = np.eye(len(codes))[chosen]
        all_counts.append(one_hot.sum(axis=0))
        all_sums.append(one_hot.T @ left)
        left = left - codes[chosen]
    if decays == "once":
        all_counts, all_sums = [np.sum(all_counts, axis=0)], [np.sum(all_sums, axis=0)]
    for new_counts, new_sums in zip(all_counts, all_sums, strict=True):
        counts = 0.8 * counts + 0.2 * new_counts
        sums = 0.8 * sums + 0.2 * new_sums
    total = counts.sum()
    smoothed = (counts + 1e-5) / (total + len(codes) * 1e-5) * total
    return sums / smoothed[:, None], counts


def test_vqp_shared_codebook():
    # VQP updates the EMA once per stage, keras_vq once per batch from the sum over stages.
    file = with_prefix(golden("vqp_residual"), "shared_")
    codes = file["initial_codebook"]
    their_codes, their_counts = moved(file["inputs"][0], codes, file["indices"][0], "each level")
    np.testing.assert_allclose(their_codes, file["codebook"][0], **CLOSE)
    np.testing.assert_allclose(their_counts, file["cluster_size"][0], rtol=1e-5)

    for step, inputs in enumerate(file["inputs"]):
        shared = level(codes)
        quantizer = keras_vq.ResidualQuantizer([shared] * 4)
        quantized, indices = quantizer(inputs, training=True)
        np.testing.assert_array_equal(numpy(indices), file["indices"][step])
        np.testing.assert_allclose(numpy(quantized), file["quantized"][step], **CLOSE)
        np.testing.assert_allclose(loss_of(quantizer), file["losses"][step].sum(), rtol=1e-5)
        expected_codes, expected_counts = moved(inputs, codes, file["indices"][step], "once")
        np.testing.assert_allclose(numpy(shared.code_vectors()), expected_codes, **CLOSE)
        counts = numpy(shared.codebook.recent_counts())
        np.testing.assert_allclose(counts, expected_counts, rtol=1e-5)
        codes = file["codebook"][step]

    quantizer = keras_vq.ResidualQuantizer([level(codes)] * 4)
    evaluation = with_prefix(file, "eval_")
    check_answer(quantizer, evaluation)
    decoded = numpy(quantizer.decode(evaluation["indices"]))
    np.testing.assert_allclose(decoded, evaluation["quantized"], **CLOSE)


def test_vqp_grouped():
    # VQP has the group axis first, and sums losses; keras_vq averages them over groups.
    file = golden("vqp_grouped")
    groups = [residual(codebooks) for codebooks in file["initial_codebooks"]]
    quantizer = keras_vq.ProductQuantizer(groups)
    quantizer.build((None, 8))
    upstream = file["upstream"]
    for step, inputs in enumerate(file["inputs"]):
        (gradient,) = input_gradient(quantizer, inputs, upstream)
        commitment = file["input_gradients"][step] - 2.0 * upstream
        np.testing.assert_allclose(gradient, upstream + 0.5 * commitment, **GRADIENT_CLOSE)

        quantized, indices = quantizer(inputs, training=True)
        expected = np.moveaxis(file["indices"][step], 0, 1)
        np.testing.assert_array_equal(numpy(indices), expected)
        np.testing.assert_allclose(numpy(quantized), file["quantized"][step], **CLOSE)
        np.testing.assert_allclose(loss_of(quantizer), 0.5 * file["losses"][step].sum(), rtol=1e-5)
        codes = np.stack([all_codes(group) for group in groups])
        np.testing.assert_allclose(codes, file["codebooks"][step], **CLOSE)

    evaluation = with_prefix(file, "eval_")
    evaluation["indices"] = np.moveaxis(evaluation["indices"], 0, 1)
    check_answer(quantizer, evaluation)
    decoded = numpy(quantizer.decode(evaluation["indices"]))
    np.testing.assert_allclose(decoded, evaluation["quantized"], **CLOSE)


# Code vectors computed by a network ---------------------------------------------------------------


class TheirNetwork(keras.layers.Layer):
    """Network of a stage in VQP: unlike the paper, with biases and silu, code vector not added."""

    def __init__(self, weights):
        super().__init__()
        self.given = weights
        self.blocks = sum(name.endswith("hidden_kernel") for name in weights)

    def build(self, input_shape):
        for name, value in self.given.items():
            setattr(self, name, self.add_weight(value.shape, constant(value), name=name))

    def call(self, inputs):
        values = ops.matmul(inputs, self.input_kernel) + self.input_bias
        for block in range(self.blocks):
            kernel, bias, out_kernel, out_bias = (
                getattr(self, f"block{block}_{name}")
                for name in ("hidden_kernel", "hidden_bias", "output_kernel", "output_bias")
            )
            hidden = ops.silu(ops.matmul(values, kernel) + bias)
            values = values + ops.matmul(hidden, out_kernel) + out_bias
        return values

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // 2)


def their_code(weights, inputs):
    """Computes TheirNetwork in NumPy, in float64."""
    values = inputs @ weights["input_kernel"] + weights["input_bias"]
    for block in range(2):
        hidden = values @ weights[f"block{block}_hidden_kernel"]
        hidden = hidden + weights[f"block{block}_hidden_bias"]
        hidden = hidden / (1.0 + np.exp(-hidden))
        values = values + hidden @ weights[f"block{block}_output_kernel"]
        values = values + weights[f"block{block}_output_bias"]
    return values


def test_vqp_implicit_codebooks():
    file = golden("vqp_residual_implicit")
    kernels = [
        {
            name: value.astype("float64")
            for name, value in with_prefix(file, f"mlp{number}_").items()
            if not name.endswith("_gradients")
        }
        for number in (1, 2)
    ]
    codebook = keras_vq.GradientCodebook(16, initializer=constant(file["codebooks"][0]))
    levels = [keras_vq.VectorQuantizer(codebook=codebook, commitment_weight=1.0)] + [
        keras_vq.ImplicitNeuralQuantizer(16, TheirNetwork(weights), commitment_weight=1.0)
        for weights in kernels
    ]
    quantizer = keras_vq.ResidualQuantizer(levels)
    quantizer.build((None, 8))
    for part, codes in zip(levels[1:], file["codebooks"][1:], strict=True):
        part.embeddings.assign(codes)

    inputs, upstream = file["inputs"], file["upstream"]
    check_answer(quantizer, file, training=True)
    # One loss for code vectors and inputs in VQP, two of equal value in keras_vq.
    np.testing.assert_allclose(loss_of(quantizer), 2.0 * file["losses"].sum(), rtol=1e-5)
    check_answer(quantizer, with_prefix(file, "eval_"), inputs=inputs)
    decoded = numpy(quantizer.decode(file["indices"]))
    np.testing.assert_allclose(decoded, file["decoded"], **CLOSE)

    names = list(kernels[0])
    variables = [codebook.embeddings, *(part.embeddings for part in levels[1:])]
    for part in levels[1:]:
        variables += [getattr(part.code_network, name) for name in names]
    by_input, *by_variables = input_gradient(quantizer, inputs, upstream, variables, whole=True)
    expected = [*file["codebook_gradients"]]
    for number in (1, 2):
        expected += [file[f"mlp{number}_{name}_gradients"] for name in names]
    for gradient, theirs in zip(by_variables, expected, strict=True):
        np.testing.assert_allclose(gradient, theirs, rtol=1e-4, atol=1e-6)

    # keras_vq stops the gradient of the context, so none passes through the networks.
    total, commitment = np.zeros(inputs.shape), np.zeros(inputs.shape)
    for number, codes in enumerate(file["codebooks"]):
        code = codes[file["indices"][:, number]].astype("float64")
        if number:
            code = their_code(kernels[number - 1], np.concatenate([total, code], axis=-1))
        total = total + code
        commitment += 2.0 / inputs.size * (inputs - total)
        np.testing.assert_allclose(
            np.mean((inputs - total) ** 2), file["losses"][number], rtol=1e-5
        )
    np.testing.assert_allclose(by_input, upstream + commitment, rtol=1e-5, atol=1e-6)
