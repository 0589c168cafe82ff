"""Errors of exports."""

import subprocess


class ExportError(ValueError):
    """Error for a model that can't be exported to a format.

    Example:
        >>> import numpy as np, keras_vq
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> vae = keras_vq.VAE.from_preset("vae_mnist")
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "vae.tflite")
        ...     size = path.write_bytes(b"damaged")
        ...     try:
        ...         keras_vq.export.verify(vae, path, np.zeros((1, 28, 28, 1), "float32"))
        ...     except keras_vq.export.ExportError:
        ...         print("failed to run")
        failed to run
    """


def first_line(error: Exception) -> str:
    """Returns the first line of an error message; converters append their internal state."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Describes the failure of a process, as the end of a sentence: "was killed by signal 9"."""
    if done.returncode < 0:
        return f"was killed by signal {-done.returncode} (out of memory?)"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return f"failed: {lines[-1].strip()}" if lines else f"exited with code {done.returncode}"
