import keras
import numpy as np
import pytest
from keras import ops

from keras_vq.layers import ResidualStack


def relu(x):
    return np.maximum(x, 0)


def convolution(x, kernel, bias):
    """Convolves with same padding and stride 1 in float64."""
    size = kernel.shape[0]
    margin = size // 2
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    return bias + sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j].astype("float64")
        for i in range(size)
        for j in range(size)
    )


@pytest.mark.parametrize("blocks", [1, 3])
def test_computes_what_the_paper_says(blocks, rng):
    inputs = rng.normal(size=(2, 5, 4, 6)).astype("float32")
    stack = ResidualStack(blocks, filters=3)
    stack.build(inputs.shape)
    for weight in stack.weights:
        weight.assign(rng.normal(size=weight.shape))
    x = inputs.astype("float64")
    for block in range(blocks):
        # In order of creation: wide convolutions first.
        wide, narrow = stack.wide[block], stack.narrow[block]
        assert tuple(wide.kernel.shape) == (3, 3, 6, 3)
        assert tuple(narrow.kernel.shape) == (1, 1, 3, 6)
        hidden = convolution(
            relu(x), ops.convert_to_numpy(wide.kernel), ops.convert_to_numpy(wide.bias)
        )
        x = x + convolution(
            relu(hidden), ops.convert_to_numpy(narrow.kernel), ops.convert_to_numpy(narrow.bias)
        )
    outputs = ops.convert_to_numpy(stack(inputs))
    np.testing.assert_allclose(outputs, relu(x), rtol=1e-4, atol=1e-4 * np.abs(x).max())
    assert len(stack.weights) == 4 * blocks


def test_shape_and_config():
    stack = ResidualStack(blocks=1, filters=5, name="stack")
    symbolic = stack(keras.Input((None, 7, 4)))
    assert symbolic.shape == (None, None, 7, 4)
    assert tuple(stack(np.zeros((2, 3, 7, 4), "float32")).shape) == (2, 3, 7, 4)
    assert stack.compute_output_shape((2, 3, 7, 4)) == (2, 3, 7, 4)
    again = ResidualStack.from_config(stack.get_config())
    assert again.get_config() == stack.get_config()
    assert (again.blocks, again.filters, again.name) == (1, 5, "stack")


def test_half_precision():
    stack = ResidualStack(dtype="mixed_float16")
    outputs = stack(np.zeros((1, 4, 4, 2), "float32"))
    assert keras.backend.standardize_dtype(outputs.dtype) == "float16"
    assert {str(weight.dtype) for weight in stack.weights} == {"float32"}


@pytest.mark.parametrize("arguments", [{"blocks": 0}, {"filters": 0}, {"filters": 1.5}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=r"must be a positive integer. Received"):
        ResidualStack(**arguments)
