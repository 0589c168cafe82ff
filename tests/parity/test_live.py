"""Comparison with vector-quantize-pytorch 1.32.0 on the same inputs, if it is installed."""

import warnings

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq.quantizers.finite_scalar_quantizer import FiniteScalarQuantizer
from tests.needed import needed
from tests.parity.golden import CLOSE, built, constant, loss_of, numpy

if keras.backend.backend() != "torch":
    pytest.skip("the other package runs on PyTorch", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the package and its imports
    needed("vector_quantize_pytorch")
    import vector_quantize_pytorch as theirs

SETTINGS = {"decay": 0.9, "rotation_trick": False, "threshold_ema_dead_code": 0}


def normal(rng, *shape):
    return rng.normal(size=shape).astype("float32")


def set_codes(layer, codes):
    import torch

    book = layer._codebook
    for state in book.embed, book.embed_avg:
        state.data.copy_(torch.tensor(codes)[None])


def test_moving_averages(rng):
    import torch

    codes = normal(rng, 64, 16)
    layer = theirs.VectorQuantize(dim=16, codebook_size=64, commitment_weight=0.25, **SETTINGS)
    set_codes(layer.train(), codes)
    codebook = keras_vq.EMACodebook(64, decay=0.9, initializer=constant(codes))
    quantizer = built(codebook, codes)
    for _ in range(3):
        inputs = normal(rng, 4, 128, 16)
        expected, expected_indices, expected_loss = layer(torch.tensor(inputs))
        quantized, indices = quantizer(inputs, training=True)
        np.testing.assert_array_equal(numpy(indices), expected_indices.numpy())
        np.testing.assert_allclose(numpy(quantized), expected.detach().numpy(), **CLOSE)
        np.testing.assert_allclose(loss_of(quantizer), expected_loss.item(), rtol=1e-5)
        after = layer._codebook.embed[0].detach().numpy()
        np.testing.assert_allclose(numpy(quantizer.code_vectors()), after, **CLOSE)


def test_residual(rng):
    import torch

    all_codes = [normal(rng, 64, 16) * 0.7**level for level in range(4)]
    layer = theirs.ResidualVQ(dim=16, num_quantizers=4, codebook_size=64, **SETTINGS).eval()
    levels = []
    for level, codes in zip(layer.layers, all_codes, strict=True):
        set_codes(level, codes)
        codebook = keras_vq.EMACodebook(64, initializer=constant(codes))
        levels.append(keras_vq.VectorQuantizer(codebook=codebook))
    inputs = normal(rng, 4, 128, 16)
    with torch.no_grad():
        expected, expected_indices, _ = layer(torch.tensor(inputs))
    quantized, indices = keras_vq.ResidualQuantizer(levels)(inputs, training=False)
    np.testing.assert_array_equal(numpy(indices), expected_indices.numpy())
    np.testing.assert_allclose(numpy(quantized), expected.numpy(), **CLOSE)


@pytest.mark.parametrize("convention", ["vector_quantize_pytorch", "symmetric"])
def test_finite_scalar(rng, convention):
    import torch

    levels = [8, 6, 5]
    layer = theirs.FSQ(levels, preserve_symmetry=convention == "symmetric").eval()
    quantizer = FiniteScalarQuantizer(levels, convention)
    inputs = 1.5 * normal(rng, 4, 128, 3)
    with torch.no_grad():
        expected, expected_indices = layer(torch.tensor(inputs))
    quantized, indices = quantizer(inputs, training=False)
    np.testing.assert_array_equal(numpy(indices), expected_indices.numpy())
    np.testing.assert_allclose(numpy(quantized), expected.numpy(), **CLOSE)
