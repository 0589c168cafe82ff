import numpy as np
import pytest
from keras import ops

from keras_vq.priors import sample_codes
from keras_vq.priors.sampling import guided

PROBABILITIES = np.array([0.1, 0.4, 0.05, 0.3, 0.15])


def shares(**options):
    """Counts how often each code is sampled for evenly spaced uniform numbers."""
    uniforms = (np.arange(1000, dtype="float32") + 0.5) / 1000
    logits = np.tile(np.log(PROBABILITIES), (1000, 1)).astype("float32")
    codes = ops.convert_to_numpy(sample_codes(logits, uniforms, **options))
    assert codes.dtype == np.int32
    return np.bincount(codes, minlength=5) / 1000


def normalised(weights):
    return weights / np.sum(weights)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, PROBABILITIES),
        ({"temperature": 0.5}, normalised(PROBABILITIES**2)),
        ({"temperature": 2.0}, normalised(PROBABILITIES**0.5)),
        ({"top_k": 2}, normalised([0, 0.4, 0, 0.3, 0])),
        ({"top_k": 9}, PROBABILITIES),
        ({"top_p": 0.5}, normalised([0, 0.4, 0, 0.3, 0])),
        ({"top_p": 0.75}, normalised([0, 0.4, 0, 0.3, 0.15])),
        ({"top_p": 1.0}, PROBABILITIES),
        ({"top_k": 3, "top_p": 0.5}, normalised([0, 0.4, 0, 0.3, 0])),
        ({"temperature": 0.5, "top_p": 0.5}, [0, 1, 0, 0, 0]),
    ],
)
def test_draws_as_often_as_it_should(options, expected):
    np.testing.assert_allclose(shares(**options), expected, atol=0.003)


def test_options_may_differ_by_row():
    logits = np.log(np.tile(PROBABILITIES, (2, 1))).astype("float32")
    draws = np.array([0.99, 0.99], "float32")
    codes = sample_codes(logits, draws, np.array([1.0, 0.01], "float32"))
    assert ops.convert_to_numpy(codes).tolist() == [4, 1]
    codes = sample_codes(logits, draws, top_p=np.array([1.0, 0.1], "float32"))
    assert ops.convert_to_numpy(codes).tolist() == [4, 1]


def test_codes_of_no_probability_are_never_drawn():
    logits = np.full((3, 4), -np.inf, "float32")
    logits[:, 2] = 0.0
    codes = sample_codes(logits, np.array([0.0, 0.5, 0.99999], "float32"))
    assert ops.convert_to_numpy(codes).tolist() == [2, 2, 2]


def test_guidance_goes_from_without_labels_past_with_labels():
    with_labels, without = np.array([[1.0, 2.0]] * 3), np.array([[0.0, 5.0]] * 3)
    logits = np.concatenate([with_labels, without]).astype("float32")
    moved = guided(logits, np.array([0.0, 1.0, 3.0], "float32"))
    expected = [[0.0, 5.0], [1.0, 2.0], [3.0, -4.0]]
    np.testing.assert_allclose(ops.convert_to_numpy(moved), expected, atol=1e-6)
