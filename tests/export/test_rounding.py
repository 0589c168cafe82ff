"""Tests of kernels rounded to int8 values."""

import keras
import numpy as np
import pytest

from keras_vq.export import round_convolutions

# Convolution, input shape, and kernel axes with a common scale.
CONVOLUTIONS = {
    "Conv1D": (keras.layers.Conv1D(5, 3), (8, 3), {"kernel": (0, 1)}),
    "Conv2D": (keras.layers.Conv2D(5, 3), (8, 8, 3), {"kernel": (0, 1, 2)}),
    "Conv1DTranspose": (keras.layers.Conv1DTranspose(5, 3), (8, 3), {"kernel": (0, 2)}),
    "Conv2DTranspose": (keras.layers.Conv2DTranspose(5, 3), (8, 8, 3), {"kernel": (0, 1, 3)}),
    "DepthwiseConv1D": (
        keras.layers.DepthwiseConv1D(3, depth_multiplier=2),
        (8, 3),
        {"kernel": (0,)},
    ),
    "DepthwiseConv2D": (
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
        (8, 8, 3),
        {"kernel": (0, 1)},
    ),
    "SeparableConv2D": (
        keras.layers.SeparableConv2D(5, 3),
        (8, 8, 3),
        {"depthwise_kernel": (0, 1), "pointwise_kernel": (0, 1, 2)},
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_kernels_are_multiples_of_a_scale_for_each_channel(name):
    layer, shape, kernels = CONVOLUTIONS[name]
    model = keras.Sequential([keras.Input(shape), layer])
    before = {
        kernel: keras.ops.convert_to_numpy(getattr(layer, kernel)).copy() for kernel in kernels
    }
    assert round_convolutions(model) == len(kernels)
    for kernel, shared in kernels.items():
        after = keras.ops.convert_to_numpy(getattr(layer, kernel))
        scale = np.abs(before[kernel]).max(axis=shared, keepdims=True) / 127
        multiples = after / scale
        np.testing.assert_allclose(multiples, np.round(multiples), atol=1e-4)
        np.testing.assert_allclose(np.abs(multiples).max(axis=shared), 127, rtol=1e-5)
        assert np.all(np.abs(after - before[kernel]) <= 0.5001 * scale)


def test_other_layers_and_channels_of_zeros_stay():
    zeros = keras.layers.Conv2D(2, 3, kernel_initializer="zeros")
    dense = keras.layers.Dense(3)
    model = keras.Sequential([keras.Input((4, 4, 1)), zeros, dense])
    before = keras.ops.convert_to_numpy(dense.kernel).copy()
    assert round_convolutions(model) == 1
    assert not keras.ops.convert_to_numpy(zeros.kernel).any()
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(dense.kernel), before)
