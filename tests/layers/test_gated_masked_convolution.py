import numpy as np
import pytest
from keras import ops

from keras_vq.layers import GatedMaskedConvolution

P = 3


@pytest.fixture
def grids(rng):
    return rng.normal(size=(2, 2, 4, 5, P)).astype("float32")


def built(rng, kernel_size=3):
    layer = GatedMaskedConvolution(P, kernel_size)
    layer.build((None, None, None, P), (None, None, None, P))
    for weight in layer.weights:
        weight.assign(rng.normal(scale=0.5, size=weight.shape))
    return layer


def masked_convolution(x, kernel, bias, reach):
    """Convolves with a kernel whose last row and column are at the current position."""
    rows, columns = kernel.shape[:2]
    right = reach if columns == 2 * reach + 1 else 0
    left = columns - 1 - right
    padded = np.pad(x, ((0, 0), (rows - 1, 0), (left, right), (0, 0)))
    height, width = x.shape[1:3]
    return bias + sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(rows)
        for j in range(columns)
    )


def gate(x):
    return np.tanh(x[..., :P]) / (1 + np.exp(-x[..., P:]))


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_computes_what_the_paper_says(kernel_size, grids, rng):
    layer = built(rng, kernel_size)
    vertical, horizontal = grids.astype("float64")
    given = rng.normal(size=(2, 2, 1, 1, 2 * P)).astype("float32")

    def convolved(x, part):
        kernel, bias = (ops.convert_to_numpy(weight).astype("float64") for weight in part.weights)
        return masked_convolution(x, kernel, bias, kernel_size // 2)

    above = convolved(vertical, layer.up)
    left = convolved(horizontal, layer.left) + convolved(above, layer.up_to_left) + given[1]
    expected = gate(above + given[0]), horizontal + convolved(gate(left), layer.out)
    for actual, wanted in zip(layer(*grids, condition=tuple(given)), expected, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(actual), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_steps_give_what_the_whole_gives(kernel_size, grids, rng):
    layer = built(rng, kernel_size)
    vertical, horizontal = map(ops.convert_to_tensor, grids)
    whole = [ops.convert_to_numpy(part) for part in layer(vertical, horizontal)]
    rows_before = ops.zeros((2, layer.reach, 5, P))
    rows, positions = [], []
    for row in range(4):
        made, from_above, rows_before = layer.step_row(vertical[:, row : row + 1], rows_before)
        rows.append(ops.convert_to_numpy(made))
        before = ops.zeros((2, 1, layer.reach, P))
        for column in range(5):
            here = slice(column, column + 1)
            made, before = layer.step_column(
                horizontal[:, row : row + 1, here], before, from_above[:, :, here]
            )
            positions.append(ops.convert_to_numpy(made))
    np.testing.assert_allclose(np.concatenate(rows, axis=1), whole[0], atol=1e-5)
    joined = np.concatenate(positions, axis=2).reshape(whole[1].shape)
    np.testing.assert_allclose(joined, whole[1], atol=1e-4)


def test_config_and_bad_arguments():
    layer = GatedMaskedConvolution(4, kernel_size=5, name="gated")
    assert GatedMaskedConvolution.from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.raises(ValueError, match=r"odd.*Received: 4"):
        GatedMaskedConvolution(4, kernel_size=4)
