"""Models from files."""

import os
import zipfile
from typing import Any

import keras


def load_model(path: str | os.PathLike[str], **kwargs: Any) -> keras.Model:
    """Loads a model from a `.keras` file, whichever backend saved it.

    Args:
        path: The file.
        **kwargs: Arguments of `keras.saving.load_model`.

    Returns:
        The model, compiled as it was.

    Raises:
        ValueError: If there is no such file, or it is no whole `.keras` file.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise ValueError(f"Expected the path of a `.keras` file. Received: no file at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            missing = {"config.json", "model.weights.h5"} - set(archive.namelist())
            damaged = damaged or ", ".join(sorted(missing)) or None
    except zipfile.BadZipFile:
        damaged = "its table of contents"
    if damaged is not None:
        raise ValueError(
            f"{path} is not a whole `.keras` file ({damaged} is damaged or missing): it may have "
            "been cut short while it was copied or written. Copy it again, or take another "
            "checkpoint. "
            f"Received: a file of {os.path.getsize(path)} bytes"
        )
    return keras.saving.load_model(path, **kwargs)
