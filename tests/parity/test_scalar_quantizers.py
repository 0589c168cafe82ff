"""Tests of quantizers without a codebook against vector-quantize-pytorch ("VQP")."""

import numpy as np
import pytest

from keras_vq.losses import EntropyLoss
from keras_vq.quantizers.finite_scalar_quantizer import FiniteScalarQuantizer
from keras_vq.quantizers.latent_quantizer import LatentQuantizer
from keras_vq.quantizers.lookup_free_quantizer import LookupFreeQuantizer
from keras_vq.quantizers.random_projection_quantizer import RandomProjectionQuantizer
from tests.parity.golden import (
    CLOSE,
    GRADIENT_CLOSE,
    check_answer,
    golden,
    input_gradient,
    loss_of,
    numpy,
    with_prefix,
)

# Name in the file -> convention.
CONVENTIONS = {
    "default_": "vector_quantize_pytorch",
    "symmetric_": "symmetric",
    "official_": "mentzer",
}


@pytest.mark.parametrize("form", CONVENTIONS)
@pytest.mark.parametrize("name", ["8x5x5x5", "8x6x5", "4", "2x2x2", "7x5x5x5x5"])
def test_vqp_finite_scalar(name, form):
    file = with_prefix(golden("vqp_fsq"), name + "_")
    expected = with_prefix(file, form)
    levels = [int(level) for level in name.split("x")]
    if not expected:
        with pytest.raises(ValueError, match="must be at least 3"):
            FiniteScalarQuantizer(levels, CONVENTIONS[form])
        return
    quantizer = FiniteScalarQuantizer(levels, CONVENTIONS[form])
    expected["quantized"] = expected["codes"]
    check_answer(quantizer, expected, inputs=file["inputs"], training=True)
    assert loss_of(quantizer) == 0.0
    (gradient,) = input_gradient(quantizer, file["inputs"], file["upstream"])
    # The derivative of tanh is inaccurate where tanh is close to 1.
    np.testing.assert_allclose(gradient, expected["input_gradients"], rtol=1e-5, atol=1e-6)
    if "decoded" in expected:
        decoded = numpy(quantizer.decode(np.arange(np.prod(levels), dtype="int32")))
        np.testing.assert_allclose(decoded, expected["decoded"], **CLOSE)


def lookup_free_gradient(inputs, codes, file, inverse, floor):
    """Computes the gradient of 0.1 (mean H(p) - H(mean p)) + 0.25 commitment in float64."""

    def by_probabilities(p):
        return -np.log(np.maximum(p, floor)) - (p > floor)

    logits = 2.0 * inverse * inputs @ codes.T
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    by_p = 0.1 / len(inputs) * (by_probabilities(p) - by_probabilities(p.mean(axis=0)))
    by_logits = p * (by_p - np.sum(p * by_p, axis=-1, keepdims=True))
    commitment = 0.25 * 2.0 * (inputs - codes[file["indices"]]) / inputs.size
    return 2.0 * inverse * by_logits @ codes + commitment


@pytest.mark.parametrize("inverse", [10, 100])
@pytest.mark.parametrize("kind", ["plain", "spherical"])
def test_vqp_lookup_free(kind, inverse):
    file = golden("vqp_lfq")
    expected = with_prefix(file, f"{kind}{inverse}_")
    quantizer = LookupFreeQuantizer(
        spherical=kind == "spherical", entropy_loss=EntropyLoss(0.1, 0.1, 1.0 / inverse)
    )
    check_answer(quantizer, expected, inputs=file["inputs"], training=True)
    # VQP clamps probabilities at 1e-5 in the logarithm; keras_vq is exact.
    entropies = expected["exact_sample_entropy"] - expected["exact_batch_entropy"]
    exact = 0.1 * entropies + 0.25 * expected["commitment"]
    np.testing.assert_allclose(loss_of(quantizer), exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loss_of(quantizer), expected["loss"], rtol=1e-3)

    # The floor also changes gradients: compare VQP with the formula with a floor, and keras_vq with
    # the formula without one.
    (ours,) = input_gradient(quantizer, file["inputs"], file["upstream"], whole=True)
    codes = file[f"{kind}_decoded"].astype("float64")
    inputs = file["inputs"].astype("float64")
    norms = np.linalg.norm(inputs, axis=-1, keepdims=True)
    latents = inputs / norms if kind == "spherical" else inputs
    for gradient, floor in (expected["input_gradients"], 1e-5), (ours, 1e-300):
        correct = file["upstream"] + lookup_free_gradient(latents, codes, expected, inverse, floor)
        if kind == "spherical":
            along = np.sum(correct * latents, axis=-1, keepdims=True)
            correct = (correct - along * latents) / norms
        assert np.abs(gradient - correct).max() < 1e-5 * np.abs(correct).max()

    decoded = numpy(quantizer.decode(np.arange(256, dtype="int32")))
    np.testing.assert_allclose(decoded, file[f"{kind}_decoded"], **CLOSE)


def latent(file, **weights):
    quantizer = LatentQuantizer([5, 5, 8], **weights)
    quantizer.build((None, 3))
    values = np.concatenate([file[f"values{number}"] for number in range(3)])
    np.testing.assert_allclose(numpy(quantizer.values), values, **CLOSE)
    return quantizer


def test_vqp_latent():
    file = golden("vqp_latent")
    quantizer = latent(file, commitment_weight=1.0, quantization_loss_weight=1.0)
    check_answer(quantizer, file, training=True)
    np.testing.assert_allclose(loss_of(quantizer), file["paper_loss"], rtol=1e-5)
    by_input, by_values = input_gradient(
        quantizer, file["inputs"], file["upstream"], [quantizer.values]
    )
    np.testing.assert_allclose(by_input, file["paper_input_gradients"], **GRADIENT_CLOSE)
    expected = np.concatenate([file[f"paper_values{number}_gradients"] for number in range(3)])
    np.testing.assert_allclose(by_values, expected, **GRADIENT_CLOSE)


def test_vqp_latent_losses():
    # The quantization loss of VQP is the commitment loss here. Its commitment loss should move the
    # values, but pushes the inputs away; the quantization loss here moves only the values.
    file = golden("vqp_latent")
    for weights, expected in [
        (
            {"commitment_weight": 1.0, "quantization_loss_weight": 0.0},
            file["quantization_loss_input_gradients"],
        ),
        ({"commitment_weight": 0.0, "quantization_loss_weight": 1.0}, np.zeros((128, 3))),
    ]:
        (gradient,) = input_gradient(latent(file, **weights), file["inputs"], 0.0)
        np.testing.assert_allclose(gradient, expected, **GRADIENT_CLOSE)


def test_latent_decodes_moved_values():
    # VQP computes indices from the initial values.
    file = golden("vqp_latent")
    quantizer = latent(file)
    quantizer.values.assign(1.5 * numpy(quantizer.values) + 0.01)
    quantized, indices = quantizer(file["inputs"])
    np.testing.assert_array_equal(numpy(quantizer.decode(indices)), numpy(quantized))


@pytest.mark.parametrize("heads", [1, 2])
def test_vqp_random_projection(heads):
    file = with_prefix(golden("vqp_random_projection"), f"heads{heads}_")
    quantizer = RandomProjectionQuantizer(32, embedding_dim=8, num_codebooks=heads)
    quantizer.build((None, 16))
    quantizer.projection.assign(file["projections"])
    quantizer.embeddings.assign(file["codebooks"])
    quantized, indices = quantizer(file["inputs"], training=True)
    np.testing.assert_array_equal(numpy(indices).reshape(-1, heads), file["indices"])
    codes = [file["codebooks"][head][file["indices"][:, head]] for head in range(heads)]
    np.testing.assert_array_equal(numpy(quantized), np.concatenate(codes, axis=-1))
