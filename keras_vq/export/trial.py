"""Numerical check of a converted model on random inputs.

Some converters and engines silently change the result of a graph.
"""

from collections.abc import Callable

import keras
import numpy as np

from keras_vq.export.signatures import Signature, SignatureModel

_BATCH = 4
_TOLERANCE = 1e-3
# Noise is far from all code vectors, so rounding decides near-ties and changes whole patches.
_MOST_THAT_DIFFERS = 0.2
# The error of int8 exports of trained models is below 0.01.
MAX_RELATIVE_ERROR = 0.1


def agree(
    converted: Callable[[np.ndarray], np.ndarray], model: keras.Model, signature: Signature
) -> bool:
    """Returns whether a converted function agrees with the model, except for near-ties of codes.

    Args:
        converted: Callable from an input array to an output array.
        model: Model with the method of the signature.
        signature: `Signature`.
    """
    inputs = inputs_for(signature)
    answer = converted(inputs)
    wanted = keras.ops.convert_to_numpy(SignatureModel(model, signature)(inputs))
    if answer.shape != wanted.shape:
        return False
    differs = np.abs(answer - wanted) > _TOLERANCE * (1 + np.abs(wanted))
    return bool(differs.mean() < _MOST_THAT_DIFFERS)


def relative_error(answer: np.ndarray, wanted: np.ndarray) -> float:
    """Computes the root-mean-square error relative to the largest magnitude of `wanted`."""
    if not wanted.size:
        return 0.0
    error = np.sqrt(np.square(answer - wanted).mean())
    return float(error / max(np.abs(wanted).max(), 1e-6))


def inputs_for(signature: Signature) -> np.ndarray:
    """Draws inputs: uniform within the bounds of the signature, or normal without bounds."""
    rng = np.random.default_rng(0)
    shape, (low, high) = (_BATCH, *signature.input.shape), signature.input.bounds
    if low is None or high is None:
        return rng.normal(size=shape).astype(signature.input.dtype)
    if signature.input.dtype == "int32":  # valid in every stage
        return rng.integers(0, 1 + min(int(high), 1), shape, dtype="int32")
    return rng.uniform(low, high, shape).astype(signature.input.dtype)
