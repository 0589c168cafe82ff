"""Helpers of the parity tests: golden arrays and quantizer calls.

`goldens/README.md` describes the arrays and how they were computed.
"""

from pathlib import Path

import keras
import numpy as np
from keras import ops

import keras_vq
from tests.gradients import gradients

FOLDER = Path(__file__).parent / "goldens"
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
# The commitment term is about 1e-4 of a gradient, so 1e-7 detects a wrong weight.
GRADIENT_CLOSE = {"rtol": 1e-5, "atol": 1e-7}


def golden(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def with_prefix(file, prefix):
    """Returns the arrays whose names start with a prefix, without the prefix."""
    return {
        key.removeprefix(prefix): value for key, value in file.items() if key.startswith(prefix)
    }


def constant(codes):
    return keras.initializers.Constant(codes)


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def built(codebook, codes, **options):
    """Builds a quantizer with the given initial embeddings."""
    quantizer = keras_vq.VectorQuantizer(codebook=codebook, **options)
    quantizer.build((None, codes.shape[1]))
    return quantizer


def loss_of(quantizer):
    return float(numpy(sum(quantizer.losses, start=0.0)))


def compiled(function):
    """Compiles the function on JAX, where long functions take seconds in eager mode."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def input_gradient(
    quantizer, inputs, upstream, variables=(), training=False, mask=None, whole=False
):
    """Computes gradients of loss + sum(quantized * upstream) for the inputs and variables.

    `whole` compiles the function, which is faster for long functions.
    """

    def function(x):
        quantized, _ = quantizer(x, mask=mask, training=training)
        return sum(quantizer.losses, start=0.0) + ops.sum(ops.multiply(quantized, upstream))

    return gradients(compiled(function) if whole else function, inputs, variables)


def check_answer(quantizer, file, inputs=None, training=False):
    """Compares a call with the golden `indices` and `quantized`."""
    inputs = file["inputs"] if inputs is None else inputs
    quantized, indices = quantizer(inputs, training=training)
    np.testing.assert_array_equal(numpy(indices), file["indices"])
    np.testing.assert_allclose(numpy(quantized), file["quantized"], **CLOSE)
