"""Fingerprints of models, by which files name what they were made with."""

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

from keras import ops

FINGERPRINT_BYTES = 8
# Member of a `.keras` file, so that a model can be found without loading every file.
MEMBER = "fingerprint.txt"


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


def store_fingerprint(model: Any, path: str | os.PathLike[str]) -> None:
    """Adds the fingerprint of a model to the `.keras` file that Keras wrote of it."""
    # Keras also writes folders, and to places that are not of the file system.
    if Path(path).is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(MEMBER, fingerprint(model).hex())
