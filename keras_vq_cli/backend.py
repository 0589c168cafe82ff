"""The choice of Keras's backend, made before Keras is imported."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

BACKENDS = ("tensorflow", "jax", "torch")


def choose_backend(asked: str | None) -> str:
    """Sets KERAS_BACKEND for the Keras that is about to be imported.

    Args:
        asked: The backend that must be taken, or None for: KERAS_BACKEND, else that of Keras's
            configuration file where it is installed, else the first of tensorflow, jax and torch
            that is.

    Returns:
        The backend's name.

    Raises:
        ValueError: If it is not installed or not one of the three, or none is installed.
    """
    wanted = asked or os.environ.get("KERAS_BACKEND")
    if wanted is not None and wanted not in BACKENDS:
        raise ValueError(
            f"The backend must be one of {', '.join(BACKENDS)}: choose it by --backend or by the "
            f"environment variable KERAS_BACKEND. Received: {wanted!r}"
        )
    if wanted is not None and find_spec(wanted) is None:
        raise ValueError(f'The backend {wanted} is not installed: pip install "keras-vq[{wanted}]"')
    if wanted is None:
        installed = [backend for backend in BACKENDS if find_spec(backend) is not None]
        if not installed:
            raise ValueError(
                "Keras needs a backend, and none of tensorflow, jax and torch is installed: "
                'pip install "keras-vq[tensorflow]"'
            )
        # Keras writes "tensorflow" into that file of its own accord, so a backend that is named
        # there and missing is no reason to fail.
        configured = _configured()
        wanted = configured if configured in installed else installed[0]
    os.environ["KERAS_BACKEND"] = wanted
    if "keras" in sys.modules and sys.modules["keras"].config.backend() != wanted:
        raise ValueError(
            f"Keras is already running in this process on {sys.modules['keras'].config.backend()}. "
            f"Received: backend {wanted}"
        )
    return wanted


def import_keras(debug: bool = False) -> None:
    """Imports Keras on the chosen backend.

    Args:
        debug: Whether TensorFlow's own warnings, and its notes about processor and drivers, are
            shown. Its C++ side prints the notes before its settings of what to print count.

    Raises:
        ImportError: If the backend is damaged.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    if debug or os.environ.get("KERAS_BACKEND") != "tensorflow":
        import keras

        return
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import keras  # noqa: F401
        except BaseException:
            notes.seek(0)
            os.write(stderr, notes.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _configured() -> str | None:
    folder = os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser()
    try:
        configuration = json.loads(Path(folder, "keras.json").read_text(encoding="utf-8"))
        return configuration.get("backend")
    except (OSError, ValueError, AttributeError):
        return None
