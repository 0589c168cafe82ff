"""Fingerprints of models, which files store to identify the model that created them."""

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

from keras import ops

FINGERPRINT_BYTES = 8
# Member of a `.keras` file, which identifies its model without loading it.
MEMBER = "fingerprint.txt"


def fingerprint(model: Any) -> bytes:
    """Returns the first 8 bytes of the SHA-256 of the class name, and of all weights.

    The hash includes the shapes and data types of weights, but not their names, because Keras
    numbers layers in the order in which a process creates them.
    """
    digest = hashlib.sha256(type(model).__name__.encode())
    for weight in model.weights:
        value = ops.convert_to_numpy(weight)
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.digest()[:FINGERPRINT_BYTES]


def store_fingerprint(model: Any, path: str | os.PathLike[str]) -> None:
    """Adds the fingerprint of a model to its `.keras` file."""
    # Keras also writes folders, and to remote paths.
    if Path(path).is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(MEMBER, fingerprint(model).hex())
