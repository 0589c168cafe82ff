"""Tests that indices are equal on all backends for the same weights and vectors.

`indices.npz` was written on TensorFlow. To update it after a change of the cases, run:

    KERAS_BACKEND=tensorflow python -m tests.quantizers.test_indices_agree
"""

import zlib
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from tests.quantizers.cases import QUANTIZER_CASES

FILE = Path(__file__).with_name("indices.npz")


def indices_of(case):
    """Returns indices of fixed vectors from a quantizer with fixed float weights."""
    rng = np.random.default_rng(zlib.crc32(case.id.encode()))
    quantizer = case.build()
    quantizer.build((None, 5, 5, 4))
    for weight in quantizer.weights:
        if weight.dtype == "float32":
            weight.assign(rng.normal(size=weight.shape).astype("float32"))
    vectors = rng.normal(size=(40, 5, 5, 4)).astype("float32")
    return ops.convert_to_numpy(quantizer.encode(vectors)).astype("int16")


@pytest.mark.parametrize("case", QUANTIZER_CASES, ids=lambda case: case.id)
def test_indices_are_those_of_the_other_backends(case):
    with np.load(FILE) as stored:
        np.testing.assert_array_equal(indices_of(case), stored[case.id])


if __name__ == "__main__":
    np.savez_compressed(FILE, **{case.id: indices_of(case) for case in QUANTIZER_CASES})
