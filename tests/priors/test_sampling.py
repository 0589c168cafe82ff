import numpy as np
import pytest
from keras import ops

from keras_vq.priors import MaskedPrior, PixelCNNPrior, TransformerPrior, sample_codes
from keras_vq.priors.sampling import _nucleus, guided

PROBABILITIES = np.array([0.1, 0.4, 0.05, 0.3, 0.15])


def shares(**options):
    """Computes sampling frequencies of codes for evenly spaced uniform numbers."""
    uniforms = (np.arange(1000, dtype="float32") + 0.5) / 1000
    logits = np.tile(np.log(PROBABILITIES), (1000, 1)).astype("float32")
    codes = ops.convert_to_numpy(sample_codes(logits, uniforms, **options))
    assert codes.dtype == np.int32
    return np.bincount(codes, minlength=5) / 1000


def normalized(weights):
    return weights / np.sum(weights)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, PROBABILITIES),
        ({"temperature": 0.5}, normalized(PROBABILITIES**2)),
        ({"temperature": 2.0}, normalized(PROBABILITIES**0.5)),
        ({"top_k": 2}, normalized([0, 0.4, 0, 0.3, 0])),
        ({"top_k": 9}, PROBABILITIES),
        ({"top_p": 0.5}, normalized([0, 0.4, 0, 0.3, 0])),
        ({"top_p": 0.75}, normalized([0, 0.4, 0, 0.3, 0.15])),
        ({"top_p": 1.0}, PROBABILITIES),
        ({"top_k": 3, "top_p": 0.5}, normalized([0, 0.4, 0, 0.3, 0])),
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


def test_guidance_extrapolates_from_unconditional_to_conditional_logits():
    with_labels, without = np.array([[1.0, 2.0]] * 3), np.array([[0.0, 5.0]] * 3)
    logits = np.concatenate([with_labels, without]).astype("float32")
    moved = guided(logits, np.array([0.0, 1.0, 3.0], "float32"))
    expected = [[0.0, 5.0], [1.0, 2.0], [3.0, -4.0]]
    np.testing.assert_allclose(ops.convert_to_numpy(moved), expected, atol=1e-6)


def kept_by_numpy(logits, top_k=None, top_p=None, temperature=1.0):
    """Computes the probabilities after top-k, top-p and temperature in float64."""
    logits = logits.astype("float64")
    # Stable, so that ties are in the order of indices.
    order = np.argsort(-logits, kind="stable")
    kept = order[:top_k]
    shares = np.exp((logits[kept] - logits.max()) / temperature)
    shares /= shares.sum()
    if top_p is not None and top_p < 1:
        # Codes whose preceding cumulative probability is below top_p, up to rounding.
        before = np.cumsum(shares) - shares
        kept = kept[before < top_p * (1 - 1e-6)]
    probabilities = np.zeros(len(logits))
    probabilities[kept] = np.exp((logits[kept] - logits.max()) / temperature)
    return probabilities / probabilities.sum()


TIED = np.array(
    [
        [0.0] * 10,
        [1.0, 2.0, 2.0, 0.0, 2.0, 1.0, 1.0, -1.0, 0.0, 2.0],
        [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [-np.inf, 1.0, 1.0, -np.inf, -np.inf, 0.5, -np.inf, -np.inf, 0.5, 0.5],
    ],
    "float32",
)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize(
    "options",
    [
        *({"top_k": k} for k in (1, 2, 3, 9, 10, 11)),
        *({"top_p": p} for p in (1e-6, 0.1, 0.3, 0.35, 0.7, 0.999, 1.0)),
        {"top_k": 5, "top_p": 0.5},
    ],
    ids=str,
)
def test_exactly_the_likeliest_codes_are_kept_with_ties(options, temperature):
    uniforms = np.tile((np.arange(500, dtype="float32") + 0.5) / 500, (len(TIED), 1))
    logits = np.repeat(TIED[:, None], 500, axis=1)
    codes = ops.convert_to_numpy(sample_codes(logits, uniforms, temperature, **options))
    for row, drawn in zip(TIED, codes, strict=True):
        expected = kept_by_numpy(row, temperature=temperature, **options)
        found = np.bincount(drawn, minlength=10) / 500
        assert set(np.flatnonzero(found)) <= set(np.flatnonzero(expected))
        np.testing.assert_allclose(found, expected, atol=0.003)


def test_a_share_of_one_keeps_codes_beyond_the_rounding_of_sums():
    # In float32, the cumulative sum reaches 1 before the last code.
    probabilities = np.array([[0.7, 0.3, 1e-9]], "float32")
    kept = _nucleus(ops.convert_to_tensor(probabilities), ops.convert_to_tensor([1.0]))
    np.testing.assert_array_equal(ops.convert_to_numpy(kept), probabilities)


def test_a_temperature_near_zero_takes_the_likeliest_code():
    logits = np.array([[10.0, 200.0, 150.0]], "float32")
    codes = sample_codes(logits, np.array([0.999], "float32"), 1e-37)
    assert ops.convert_to_numpy(codes).tolist() == [1]


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("cls", "least", "most"),
    [
        # An autoregressive prior holds the logits of one code at a time.
        (TransformerPrior, 48, 128),
        (PixelCNNPrior, 128, 256),
        # The logits of all codes of a sample take 64 MiB, with copies 256 MiB.
        (MaskedPrior, 1, 8),
    ],
)
def test_batch_is_as_large_as_memory_allows(cls, least, most):
    options = {} if cls is PixelCNNPrior else {"num_heads": 4}
    prior = cls(16384, (32, 32), hidden_dim=128, num_layers=4, **options)
    size = prior._sampling_batch_size(guided=False)
    assert least <= size <= most
    assert prior._sampling_batch_size(guided=True) in (max(1, size // 2), size // 2 + 1)
    assert cls(64, (4, 4), hidden_dim=8, num_layers=1)._sampling_batch_size(guided=False) == 256
