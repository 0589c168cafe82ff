"""Import of Keras on the requested backend, with TensorFlow's startup messages suppressed."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from keras_vq_cli import interrupts

BACKENDS = ("tensorflow", "jax", "torch")


def import_keras(asked: str | None = None, debug: bool = False) -> str:
    """Imports Keras and keras_vq.

    Args:
        asked: String or `None`. Required backend; `None` leaves the choice to `import keras_vq`.
        debug: Boolean. Whether to show the warnings of TensorFlow and its messages about CPU
            features and drivers. TensorFlow's C++ code prints some of these messages before it
            applies its logging settings. Defaults to `False`.

    Returns:
        Name of the running backend.

    Raises:
        ValueError: If Keras already runs on another backend.
        ImportError: If the backend is broken or not installed.
    """
    if asked is not None and "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = asked
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    with importing(debug):
        import keras_vq  # noqa: F401  # before Keras, because it selects the backend
    import keras

    interrupts.check()  # some modules catch all exceptions during their import
    running = keras.config.backend()
    if asked not in (None, running):
        raise ValueError(
            f"Keras is already running in this process on {running}. Received: backend {asked}"
        )
    if running == "tensorflow" and not debug:
        import logging

        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return running


@contextlib.contextmanager
def importing(debug: bool = False) -> Iterator[None]:
    """Makes imports of packages with native code silent, and safe from Ctrl-C.

    Args:
        debug: Whether the notes of packages about processor and drivers are shown.
    """
    with interrupts.suspended(), contextlib.nullcontext() if debug else _kept_back_notes():
        yield


@contextlib.contextmanager
def _kept_back_notes() -> Iterator[None]:
    """Redirects standard error to a temporary file, which is printed if an error is raised."""
    try:
        stderr = os.dup(2)
        notes = tempfile.TemporaryFile()  # noqa: SIM115  # closed below
    except OSError:  # no standard error, or a full disk
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    with notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except Exception:
            notes.seek(0)
            os.write(stderr, notes.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
