"""Fingerprints of models, by which a file names what it was made with."""

import hashlib
from typing import Any

from keras import ops

from keras_vq.codec.container import FINGERPRINT_BYTES


def fingerprint(model: Any) -> bytes:
    """Returns the first bytes of the SHA-256 of all weights, with their shapes and types.

    Names don't count: Keras numbers layers as a process makes them.
    """
    digest = hashlib.sha256(type(model).__name__.encode())
    for weight in model.weights:
        value = ops.convert_to_numpy(weight)
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.digest()[:FINGERPRINT_BYTES]
