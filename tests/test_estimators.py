"""Tests of gradient estimators against their formulas."""

import numpy as np
import pytest
from keras import ops

from keras_vq import estimators
from tests.gradients import gradients


@pytest.fixture
def pairs(rng):
    x = rng.normal(size=(50, 6)).astype("float32")
    return x, (x + rng.normal(size=x.shape)).astype("float32")


@pytest.mark.parametrize("name", ["straight_through", "rotation_trick"])
def test_value_is_the_codes_to_the_bit(name, pairs):
    x, q = pairs
    np.testing.assert_array_equal(ops.convert_to_numpy(estimators.get(name)(x, q)), q)


def test_straight_through_gradient_is_the_identity(pairs, rng):
    x, q = pairs
    upstream = rng.normal(size=x.shape).astype("float32")
    (gradient,) = gradients(
        lambda x: ops.sum(ops.multiply(estimators.straight_through(x, q), upstream)), x
    )
    np.testing.assert_array_equal(gradient, upstream)


def test_rotation_gradient_is_the_transposed_rotation(pairs, rng):
    """Compares with the definition: the rotation of x/|x| to q/|q|, times |q|/|x|."""
    x, q = pairs
    upstream = rng.normal(size=x.shape).astype("float32")
    (gradient,) = gradients(
        lambda x: ops.sum(ops.multiply(estimators.rotation_trick(x, q), upstream)), x
    )
    for row, code, up, got in zip(x, q, upstream, gradient, strict=True):
        matrix = rotation(row.astype("float64"), code.astype("float64"))
        scale = np.linalg.norm(code) / np.linalg.norm(row)
        np.testing.assert_allclose(matrix @ row * scale, code, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got, scale * matrix.T @ up, rtol=1e-3, atol=1e-4)


def rotation(x, q):
    """Computes the matrix of the rotation of x to q in their plane (Rodrigues)."""
    a = x / np.linalg.norm(x)
    b = q - (q @ a) * a
    b /= np.linalg.norm(b)
    cosine = a @ q / np.linalg.norm(q)
    sine = np.sqrt(1 - cosine**2)
    plane = np.outer(a, a) + np.outer(b, b)
    turn = cosine * plane + sine * (np.outer(b, a) - np.outer(a, b))
    return np.eye(len(x)) - plane + turn


def test_rotation_of_zero_and_opposite_vectors(rng):
    x = np.array([[0, 0, 0], [1, 2, 3], [1, 2, 3], [1e-20, 0, 0]], "float32")
    q = np.array([[1, 2, 3], [0, 0, 0], [-1, -2, -3], [1, 0, 0]], "float32")
    upstream = rng.normal(size=x.shape).astype("float32")
    (gradient,) = gradients(
        lambda x: ops.sum(ops.multiply(estimators.rotation_trick(x, q), upstream)), x
    )
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[[0, 3]], upstream[[0, 3]])  # no direction, so unchanged
    np.testing.assert_array_equal(gradient[1], 0)  # scaled by |q| = 0


def test_any_function_may_serve():
    def nothing(inputs, codes):
        return codes

    assert estimators.get(nothing) is nothing
