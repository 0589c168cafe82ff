import numpy as np
import pytest

from keras_vq.metrics import CodebookUsage, Perplexity


def perplexity(codes, size):
    counts = np.bincount(codes[codes >= 0], minlength=size).astype("float64")
    shares = counts[counts > 0] / counts.sum()
    return np.exp(-(shares * np.log(shares)).sum())


def test_are_of_everything_since_the_reset(rng):
    batches = [rng.integers(low, low + 8, (4, 3, 2)) for low in (0, 4, 8)]
    metrics = Perplexity(32), CodebookUsage(32)
    for codes in batches:
        for metric in metrics:
            metric.update_state(codes)
    everything = np.concatenate([codes.ravel() for codes in batches])
    expected = perplexity(everything, 32), len(np.unique(everything)) / 32
    for metric, value in zip(metrics, expected, strict=True):
        assert float(metric.result()) == pytest.approx(value, rel=1e-5)
    # The mean over batches differs.
    assert np.mean([perplexity(codes.ravel(), 32) for codes in batches]) < 0.8 * expected[0]
    for metric in metrics:
        metric.reset_state()
        metric.update_state(batches[0])
    assert float(metrics[0].result()) == pytest.approx(perplexity(batches[0].ravel(), 32), rel=1e-5)


def test_masked_codes_are_not_counted():
    codes = np.array([[0, 1, -1], [-1, 1, 0]])
    metrics = Perplexity(8), CodebookUsage(8)
    for metric, value in zip(metrics, (2.0, 0.25), strict=True):
        metric.update_state(codes)
        assert float(metric.result()) == pytest.approx(value, rel=1e-6)
        metric.reset_state()
        metric.update_state(np.full((3,), -1))
        # Without any codes, the perplexity is 1, its minimum.
        assert float(metric.result()) == (1.0 if metric is metrics[0] else 0.0)


def test_bounds():
    for metric, value in ((Perplexity(5), 5.0), (CodebookUsage(5), 1.0)):
        metric.update_state(np.arange(5))
        assert float(metric.result()) == pytest.approx(value, rel=1e-6)
        metric.reset_state()
        metric.update_state(np.full((100,), 3))
        assert float(metric.result()) == pytest.approx(value / 5, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "name"), [(Perplexity, "perplexity"), (CodebookUsage, "codebook_usage")]
)
def test_config(kind, name):
    assert kind(7).name == name
    metric = kind(7, name="other")
    again = kind.from_config(metric.get_config())
    assert again.get_config() == metric.get_config()
    assert (again.codebook_size, again.name) == (7, "other")
    with pytest.raises(ValueError, match="`codebook_size` must be a positive integer"):
        kind(0)
