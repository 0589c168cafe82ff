"""Import of Keras on the requested backend, with TensorFlow's startup messages suppressed."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from keras_vq_cli import console, interrupts, session


def import_keras(preferred: str | None = None) -> str:
    """Imports Keras and keras_vq on the backend of --backend, else on the preferred one.

    Without --verbose, warnings of TensorFlow and its messages about CPU features and drivers are
    not shown. TensorFlow's C++ code prints some of them before it applies its logging settings.

    Args:
        preferred: String or `None`. Backend without --backend; `None` leaves the choice to
            `import keras_vq`.

    Returns:
        Name of the running backend.

    Raises:
        ValueError: If Keras already runs on another backend.
        ImportError: If the backend is broken or not installed.
    """
    options = session.current()
    asked = options.backend or preferred
    if "keras" not in sys.modules:
        console.message("Starting Keras ...")
        if asked is not None:
            os.environ["KERAS_BACKEND"] = asked
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if options.verbose else "3")
    with importing():
        import keras_vq  # noqa: F401  # before Keras, because it selects the backend
    import keras

    interrupts.check()  # some modules catch all exceptions during their import
    running = keras.config.backend()
    if asked not in (None, running):
        raise ValueError(
            f"Keras is already running in this process on {running}. Received: backend {asked}"
        )
    if running == "tensorflow" and not options.verbose:
        import logging

        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return running


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Makes imports of packages with native code silent, and safe from Ctrl-C."""
    shown = contextlib.nullcontext() if session.current().verbose else _kept_back_notes()
    with interrupts.suspended(), shown:
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
