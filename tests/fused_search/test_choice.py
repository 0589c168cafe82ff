"""Tests that the fastest search with correct codes is selected."""

import logging
import time

import numpy as np
import pytest
from keras import ops

from keras_vq import backend
from keras_vq import ops as vq_ops
from keras_vq.backend.fused_search import choice


def slow(vectors, codes):
    time.sleep(0.02)
    return vq_ops.nearest_code(vectors, codes)


def fast(vectors, codes):
    return fast.found


def wrong(vectors, codes):
    return (fast.found + 1) % len(codes)


def short(vectors, codes):
    return fast.found[:-1]


def outside(vectors, codes):
    return fast.found + len(codes)


def broken(vectors, codes):
    raise RuntimeError("no driver")


@pytest.fixture
def sets(rng):
    vectors = ops.convert_to_tensor(rng.normal(size=(50, 3)).astype("float32"))
    codes = ops.convert_to_tensor(rng.normal(size=(20, 3)).astype("float32"))
    fast.found = vq_ops.nearest_code(vectors, codes)
    return vectors, codes


def chosen(sets, *others):
    searches = {"slow": slow} | {search.__name__: search for search in others}
    return choice.fastest(searches, *sets, wait=lambda result: None)


def test_the_fastest_is_taken(sets):
    assert chosen(sets, fast) == "fast"


@pytest.mark.parametrize("search", [wrong, short, outside])
def test_a_search_that_finds_other_codes_is_not_taken(sets, search, caplog):
    assert chosen(sets, search) == "slow"
    assert f"The search {search.__name__} finds other codes than slow: unused" in caplog.text


def test_a_search_that_does_not_run_is_not_taken(sets, caplog):
    with caplog.at_level(logging.INFO, logger="keras_vq"):
        assert chosen(sets, broken, fast) == "fast"
    assert "The search broken does not run here: no driver" in caplog.text


def test_an_error_of_the_trusted_search_is_raised(sets):
    with pytest.raises(RuntimeError, match="no driver"):
        choice.fastest({"broken": broken, "fast": fast}, *sets, wait=lambda result: None)


@pytest.mark.parametrize("value", [None, "0", ""])
def test_kernels_are_off_unless_the_environment_turns_them_on(value, monkeypatch):
    monkeypatch.delenv("KERAS_VQ_FUSED_SEARCH", raising=False)
    if value is not None:
        monkeypatch.setenv("KERAS_VQ_FUSED_SEARCH", value)
    assert backend.with_fused_search(fast) is fast


def test_excess_is_how_much_farther_a_code_is():
    vectors, codes = np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 2.0]])
    found, nearest = np.array([1]), np.array([0])
    assert choice.excess(nearest, nearest, vectors, codes) == 0
    # Squared distances 5 and 0, divided by the sum of squared norms.
    assert choice.excess(found, nearest, vectors, codes) == pytest.approx(5 / 2)
    assert choice.excess(nearest, found, vectors, codes) == pytest.approx(-5 / 5)
