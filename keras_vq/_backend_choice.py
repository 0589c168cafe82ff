"""Selection of an installed Keras backend before Keras is imported."""

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

BACKENDS = ("tensorflow", "jax", "torch")


def choose() -> None:
    """Sets KERAS_BACKEND to an installed backend, unless Keras is already imported.

    The order of precedence is KERAS_BACKEND, the backend in Keras's configuration file if it is
    installed, and the first installed one of tensorflow, jax and torch.

    Raises:
        ValueError: If KERAS_BACKEND is not one of these three.
        ImportError: If the backend in KERAS_BACKEND, or every backend, is not installed.
    """
    if "keras" in sys.modules:
        return
    named = os.environ.get("KERAS_BACKEND")
    if named and named not in BACKENDS:
        raise ValueError(
            f"The environment variable KERAS_BACKEND must be one of {', '.join(BACKENDS)}. "
            f"Received: KERAS_BACKEND={named!r}"
        )
    installed = [backend for backend in BACKENDS if _is_installed(backend)]
    if not installed:
        raise ImportError(
            "Keras requires tensorflow, jax or torch, but none is installed. "
            f'Install with: pip install "keras-vq[{named or BACKENDS[0]}]"'
        )
    if named and named not in installed:
        raise ImportError(
            f"The backend {named} is not installed. Set KERAS_BACKEND to "
            f'{" or ".join(installed)}, or install with: pip install "keras-vq[{named}]"'
        )
    # No error if the configured backend is not installed, because Keras writes "tensorflow" into
    # its configuration file by default.
    configured = _configured()
    os.environ["KERAS_BACKEND"] = named or (configured if configured in installed else installed[0])


def _is_installed(package: str) -> bool:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # an import hook, or a partial import
        return False
    return spec is not None and spec.origin is not None  # no origin: a folder of that name


def _configured() -> str | None:
    """Returns the backend in Keras's configuration file, which is found as Keras finds it."""
    folder = os.environ.get("KERAS_HOME")
    if folder is None:
        home = os.path.expanduser("~")
        folder = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    path = Path(folder, "keras.json").expanduser()
    try:
        return json.loads(path.read_text(encoding="utf-8"))["backend"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
