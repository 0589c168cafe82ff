"""A few random inputs, on which what was converted must compute what the model does.

Converters and engines have turned some graphs into others without a word.
"""

import numpy as np

from keras_vq.export.signatures import Signature

_BATCH = 4
_TOLERANCE = 1e-3
# Noise lies far from all codes: rounding decides between some, and then a patch of pixels differs.
_MOST_THAT_DIFFERS = 0.2


def inputs_for(signature: Signature) -> np.ndarray:
    """Inputs of a signature, uniform within its bounds, normal where it has none."""
    rng = np.random.default_rng(0)
    shape, (low, high) = (_BATCH, *signature.input.shape), signature.input.bounds
    if low is None or high is None:
        inputs = rng.normal(size=shape)
    elif signature.input.dtype == "int32":  # codes that every level has
        inputs = rng.integers(0, 1 + min(int(high), 1), shape)
    else:
        inputs = rng.uniform(low, high, shape)
    return inputs.astype(signature.input.dtype)


def agree(answer: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether an answer is what is wanted, but for a few near-ties of two codes."""
    if answer.shape != wanted.shape:
        return False
    differs = np.abs(answer - wanted) > _TOLERANCE * (1 + np.abs(wanted))
    return bool(differs.mean() < _MOST_THAT_DIFFERS)
