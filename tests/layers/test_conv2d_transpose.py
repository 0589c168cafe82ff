"""Tests of Conv2DTranspose and of its custom gradient against Keras."""

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq import backend
from keras_vq.layers.conv2d_transpose import Conv2DTranspose, transposed_convolution
from tests.gradients import gradients

numpy = keras.ops.convert_to_numpy


def scattered(inputs, kernel, strides):
    """Adds the weighted kernel of every input, then crops the edges."""
    batch, height, width, _ = inputs.shape
    rows, columns, filters, _ = kernel.shape
    down, right = strides
    whole = np.zeros((batch, height * down + rows, width * right + columns, filters))
    for i in range(height):
        for j in range(width):
            added = np.einsum("bc,hwfc->bhwf", inputs[:, i, j], kernel)
            whole[:, i * down : i * down + rows, j * right : j * right + columns] += added
    top, left = max(rows - down, 0) // 2, max(columns - right, 0) // 2
    return whole[:, top : top + height * down, left : left + width * right]


def random(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype("float32")


SIZES = [
    ((3, 3), (2, 2)),
    ((4, 4), (2, 2)),
    ((2, 2), (2, 2)),
    ((1, 1), (2, 2)),
    ((5, 5), (2, 2)),
    ((7, 4), (3, 2)),
    ((3, 5), (1, 3)),
    ((3, 3), (1, 1)),
    ((11, 13), (1, 2)),  # wider than the image
]


@pytest.mark.parametrize(("size", "strides"), SIZES)
def test_inputs_are_scattered(size, strides):
    inputs, kernel = random(2, 4, 5, 3), random(*size, 6, 3)
    found = transposed_convolution(
        keras.ops.convert_to_tensor(inputs), keras.ops.convert_to_tensor(kernel), strides
    )
    np.testing.assert_allclose(numpy(found), scattered(inputs, kernel, strides), atol=2e-5)


@pytest.mark.parametrize(("size", "strides"), SIZES)
def test_gradients_are_the_adjoint(size, strides):
    """The operation is bilinear, so gradients are its adjoints."""
    inputs, kernel = random(8, 4, 5, 3), random(*size, 6, 3)
    variable = keras.Variable(kernel)
    draws = np.random.default_rng(1)
    upstream, other_inputs, other_kernel = (
        draws.normal(size=shape).astype("float32")
        for shape in ((8, 4 * strides[0], 5 * strides[1], 6), inputs.shape, kernel.shape)
    )
    slopes = keras.ops.convert_to_tensor(upstream)
    by_inputs, by_kernel = gradients(
        lambda x: keras.ops.sum(transposed_convolution(x, variable.value, strides) * slopes),
        inputs,
        [variable],
    )
    expected = (scattered(other_inputs, kernel, strides) * upstream).sum()
    assert (by_inputs * other_inputs).sum() == pytest.approx(expected, rel=1e-4, abs=1e-3)
    expected = (scattered(inputs, other_kernel, strides) * upstream).sum()
    assert (by_kernel * other_kernel).sum() == pytest.approx(expected, rel=1e-4, abs=1e-3)


def layers_alike(size=4, **options):
    """Returns the layer of keras_vq and that of Keras with equal weights."""
    ours, theirs = (
        kind(5, size, **options) for kind in (Conv2DTranspose, keras.layers.Conv2DTranspose)
    )
    for layer in (ours, theirs):
        layer.build((None, 4, 6, 3))
    ours.bias.assign(random(5))
    theirs.set_weights(ours.get_weights())
    return ours, theirs


@pytest.mark.parametrize(
    "options",
    [
        {"strides": 2, "padding": "same"},
        {"strides": 2, "padding": "same", "activation": "relu", "use_bias": True},
        {"strides": 2, "padding": "valid"},
        {"strides": 1, "padding": "same"},
        {"strides": (1, 2), "padding": "same"},
    ],
)
def test_layer_is_that_of_keras(options):
    ours, theirs = layers_alike(**options)
    inputs = random(2, 4, 6, 3)
    np.testing.assert_allclose(numpy(ours(inputs)), numpy(theirs(inputs)), atol=1e-5)
    assert tuple(ours.compute_output_shape((2, 4, 6, 3))) == tuple(ours(inputs).shape)


@pytest.mark.parametrize(("size", "strides"), SIZES)
def test_gradients_are_those_of_keras(size, strides):
    if not all(length >= by for length, by in zip(size, strides, strict=True)):
        pytest.skip("left to Keras")
    slopes = [
        gradients(
            lambda x, layer=layer: keras.ops.sum(keras.ops.square(layer(x))),
            random(2, 4, 6, 3),
            layer.weights,
        )
        for layer in layers_alike(size, strides=strides, padding="same")
    ]
    for ours, theirs in zip(*slopes, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_weights_train_alike():
    weights = []
    for layer in layers_alike(strides=2, padding="same"):
        model = keras.Sequential([keras.Input((4, 6, 3)), layer])
        model.compile(keras.optimizers.SGD(0.1), loss="mse")
        model.train_on_batch(random(2, 4, 6, 3), np.ones((2, 8, 12, 5), "float32"))
        weights.append(layer.get_weights())
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_half_precision_stays_half():
    layer = Conv2DTranspose(5, 4, strides=2, padding="same", dtype="mixed_bfloat16")
    outputs = layer(random(2, 4, 6, 3))
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert layer.kernel.dtype == "float32"


def test_networks_have_it():
    for build in (keras_vq.networks.convolutional, keras_vq.networks.residual_convolutional):
        kinds = {type(layer) for layer in build((8, 8, 1)).decoder.layers}
        assert Conv2DTranspose in kinds
        assert keras.layers.Conv2DTranspose not in kinds


@pytest.mark.parametrize(("size", "strides"), SIZES)
@pytest.mark.parametrize("use_bias", [True, False])
def test_layer_scatters_its_inputs(size, strides, use_bias):
    layer = Conv2DTranspose(6, size, strides=strides, padding="same", use_bias=use_bias)
    inputs = random(2, 4, 5, 3)
    outputs = layer(inputs)
    expected = scattered(inputs, numpy(layer.kernel), strides)
    if use_bias:
        layer.bias.assign(random(6))
        outputs, expected = layer(inputs), expected + random(6)
    np.testing.assert_allclose(numpy(outputs), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("options", "is_own"),
    [
        ({"padding": "same"}, backend.NAME != "tensorflow"),
        ({"padding": "valid"}, False),
        ({"padding": "same", "output_padding": 1}, False),
    ],
)
def test_layer_has_ways_of_its_own_on_jax_and_pytorch(options, is_own, monkeypatch):
    calls = []
    whole = keras.layers.Conv2DTranspose.call

    def note(layer, inputs):
        calls.append(inputs)
        return whole(layer, inputs)

    monkeypatch.setattr(keras.layers.Conv2DTranspose, "call", note)
    layer = Conv2DTranspose(5, 4, strides=2, **options)
    layer(random(2, 4, 6, 3))
    assert bool(calls) != is_own


def test_sizes_that_are_unknown_are_left_to_keras():
    layer = Conv2DTranspose(5, 4, strides=2, padding="same")
    assert layer._is_usual((None, 4, 6, 3))
    assert not layer._is_usual((None, None, 6, 3))  # the height is unknown until tracing


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's compiler")
@pytest.mark.filterwarnings(  # raised within torch.compile
    "ignore:The .grad attribute of a Tensor", "ignore:.*Function'> should not be instantiated"
)
def test_torch_compiles_it_as_one_graph():
    import torch

    layer = Conv2DTranspose(5, 3, strides=2, padding="same")
    inputs = torch.from_numpy(random(2, 4, 6, 3)).requires_grad_(True)
    layer(inputs)
    found = torch._dynamo.explain(lambda x: layer(x).sum())(inputs)
    assert found.graph_break_count == 0, [str(reason.reason) for reason in found.break_reasons]
