"""Tests of quantizers against formulas of papers, computed in NumPy in float64."""

import numpy as np
import pytest

import keras_vq
from keras_vq.losses import EntropyLoss
from keras_vq.quantizers.index_backpropagation_quantizer import IndexBackpropagationQuantizer
from keras_vq.quantizers.lookup_free_quantizer import LookupFreeQuantizer
from keras_vq.quantizers.multi_scale_quantizer import area_matrix, bicubic_matrix
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


@pytest.mark.parametrize(
    ("prefix", "commitment", "weight"), [("", 0.25, 1.0), ("legacy_", 1.0, 0.25)]
)
def test_vqgan(prefix, commitment, weight):
    # `legacy`, the default of taming-transformers, puts beta on the codebook loss.
    file = with_prefix(golden("paper_losses"), "taming_")
    codebook = keras_vq.GradientCodebook(
        32, codebook_loss_weight=weight, initializer=constant(file["codebook"])
    )
    quantizer = built(codebook, file["codebook"], commitment_weight=commitment)
    check_answer(quantizer, file, training=True)
    np.testing.assert_allclose(loss_of(quantizer), file[prefix + "loss"], rtol=1e-5)
    by_input, by_codes = input_gradient(
        quantizer, file["inputs"], file["upstream"], [codebook.embeddings]
    )
    np.testing.assert_allclose(by_input, file[prefix + "input_gradients"], **GRADIENT_CLOSE)
    np.testing.assert_allclose(by_codes, file[prefix + "codebook_gradients"], **GRADIENT_CLOSE)


def test_dac():
    # DAC has one loss per sequence; for equal lengths, the loss here is their mean.
    file = with_prefix(golden("paper_losses"), "dac_")
    codebook = keras_vq.GradientCodebook(32, initializer=constant(file["codebook"]))
    lower = keras_vq.VectorQuantizer(codebook=codebook, metric="angle")
    quantizer = keras_vq.ProjectedQuantizer(lower, 4)
    quantizer.build((None, 16, 16))
    for layer, name in (quantizer.into, "in"), (quantizer.out, "out"):
        layer.kernel.assign(file[f"{name}_kernel"])
        layer.bias.assign(file[f"{name}_bias"])

    check_answer(quantizer, file, training=True)
    expected = np.mean(file["codebook_loss"]) + 0.25 * np.mean(file["commitment"])
    np.testing.assert_allclose(expected, file["loss"], rtol=1e-6)
    np.testing.assert_allclose(loss_of(quantizer), expected, rtol=1e-5)
    by_input, by_codes = input_gradient(
        quantizer, file["inputs"], file["upstream"], [codebook.embeddings]
    )
    np.testing.assert_allclose(by_input, file["input_gradients"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_codes, file["codebook_gradients"], **GRADIENT_CLOSE)

    codes = numpy(lower.decode(file["indices"]))
    np.testing.assert_array_equal(codes, file["codes"])
    decoded = numpy(quantizer.decode(file["indices"]))
    np.testing.assert_allclose(decoded, file["quantized"], **CLOSE)


def test_cvq_vae():
    file = with_prefix(golden("paper_losses"), "cvq_")
    codes = file["initial_codebook"]
    codebook = keras_vq.GradientCodebook(
        32, decay=0.99, restart=keras_vq.OnlineClustering(), initializer=constant(codes)
    )
    quantizer = built(codebook, codes)
    # The usage average starts at 0 in the paper, at one vector per code here.
    codebook.ema_counts.assign(np.zeros(32))
    for step, inputs in enumerate(file["inputs"]):
        quantized, indices = quantizer(inputs, training=True)
        np.testing.assert_array_equal(numpy(indices), file["indices"][step])
        np.testing.assert_allclose(numpy(quantized), file["quantized"][step], **CLOSE)
        np.testing.assert_allclose(loss_of(quantizer), file["loss"][step], rtol=1e-5)
        share = numpy(codebook.recent_counts()) / len(inputs)
        np.testing.assert_allclose(share, file["probability"][step], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(numpy(codebook.code_vectors()), file["codebook"][step], **CLOSE)


def test_index_backpropagation():
    file = with_prefix(golden("paper_losses"), "ibq_")
    quantizer = IndexBackpropagationQuantizer(32, codebook_loss_weight=0.25, entropy_loss=None)
    quantizer.build((None, 8))
    quantizer.embeddings.assign(file["codebook"])
    check_answer(quantizer, file, training=True)
    np.testing.assert_allclose(loss_of(quantizer), file["loss"], rtol=1e-5)
    by_input, by_codes = input_gradient(
        quantizer, file["inputs"], file["upstream"], [quantizer.embeddings], training=True
    )
    np.testing.assert_allclose(by_input, file["input_gradients"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(by_codes, file["codebook_gradients"], rtol=1e-4, atol=1e-6)
    check_answer(quantizer, file, training=False)


@pytest.mark.parametrize(("prefix", "group"), [("bits_", 1), ("groups_", 4)])
def test_binary_spherical(prefix, group):
    # In the paper, commitment is a sum over dimensions, and entropies are divided by 1 / T = 10.
    file = with_prefix(golden("paper_losses"), "bsq_")
    quantizer = LookupFreeQuantizer(
        spherical=True,
        commitment_weight=0.25 * 8,
        entropy_loss=EntropyLoss(0.1 / 10, 0.1 / 10, temperature=0.1),
        bits_per_group=group,
    )
    check_answer(quantizer, file, training=True)
    np.testing.assert_allclose(loss_of(quantizer), file[prefix + "loss"], rtol=1e-5)


@pytest.mark.parametrize("prefix", ["one_axis_", "two_axes_"])
def test_multi_scale(prefix):
    file = with_prefix(golden("paper_multiscale"), prefix)
    codebook = keras_vq.GradientCodebook(32, initializer=constant(file["codebook"]))
    scales = [1, 2, 4, 8]
    quantizer = keras_vq.MultiScaleQuantizer(
        keras_vq.VectorQuantizer(codebook=codebook), scales, num_phi=0
    )
    inputs = file["inputs"]
    batch = len(inputs)
    quantizer.build(inputs.shape)

    def answer(x):
        quantized, indices = quantizer(x, training=False)
        return quantized, indices, sum(quantizer.losses, start=0.0)

    quantized, indices, loss = compiled(answer)(inputs)
    expected = [file[f"scale{scale}_indices"].reshape(batch, -1) for scale in scales]
    np.testing.assert_array_equal(numpy(indices), np.concatenate(expected, axis=1))
    np.testing.assert_allclose(numpy(quantized), file["quantized"], **CLOSE)
    np.testing.assert_allclose(float(numpy(loss)), file["loss"], rtol=1e-5)
    by_input, by_codes = input_gradient(
        quantizer, inputs, file["upstream"], [codebook.embeddings], whole=True
    )
    np.testing.assert_allclose(by_input, file["input_gradients"], **GRADIENT_CLOSE)
    np.testing.assert_allclose(by_codes, file["codebook_gradients"], rtol=1e-4, atol=1e-6)

    totals = quantizer.decode_scales(indices)
    for scale, total, error in zip(scales, totals, file["scale_errors"], strict=True):
        np.testing.assert_allclose(numpy(total), file[f"scale{scale}_total"], **CLOSE)
        np.testing.assert_allclose(np.mean((inputs - numpy(total)) ** 2), error, rtol=1e-5)


@pytest.mark.backend_free
@pytest.mark.parametrize("size", [1, 3, 5])
def test_resizing_is_that_of_torch(size):
    file = with_prefix(golden("paper_multiscale"), "resize_")
    down, up = area_matrix(8, size), bicubic_matrix(size, 8)
    smaller = np.einsum("ih,jw,bhwc->bijc", down, down, file["inputs"])
    np.testing.assert_allclose(smaller, file[f"area_8_to_{size}"], **CLOSE)
    larger = np.einsum("ih,jw,bhwc->bijc", up, up, file[f"area_8_to_{size}"])
    np.testing.assert_allclose(larger, file[f"bicubic_{size}_to_8"], **CLOSE)
