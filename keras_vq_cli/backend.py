"""Import of Keras on the backend that the user asked for, without TensorFlow's notes."""

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
        asked: The backend that must be taken, or None for the choice of `import keras_vq`.
        debug: Whether TensorFlow's own warnings, and its notes about processor and drivers, are
            shown. Its C++ side prints the notes before its settings of what to print count.

    Returns:
        The backend's name.

    Raises:
        ValueError: If Keras runs on another backend already.
        ImportError: If the backend is damaged or not installed.
    """
    if asked is not None and "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = asked
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    with contextlib.nullcontext() if debug else _kept_back_notes():
        import keras_vq  # noqa: F401  # before Keras, because it chooses the backend
    import keras

    interrupts.check()  # some modules catch whatever is raised while they are imported
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
def _kept_back_notes() -> Iterator[None]:
    """While this lasts, standard error goes to a file, which is shown if an error is raised."""
    try:
        stderr = os.dup(2)
        notes = tempfile.TemporaryFile()  # noqa: SIM115  # closed below
    except OSError:  # no standard error, or no room for a file
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
