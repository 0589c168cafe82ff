"""Errors of exports, and the check for packages that they need."""

import subprocess
from importlib.util import find_spec


class ExportError(ValueError):
    """A model that can't be written in a format, in words that say what to do."""


def require(packages: tuple[str, ...], extra: str, what: str) -> None:
    """Checks that packages are installed, without importing them.

    Args:
        packages: Names as they are imported.
        extra: The extra of keras_vq that installs them.
        what: What they are needed for.

    Raises:
        ImportError: If one is missing.
    """
    missing = [package for package in packages if is_missing(package)]
    if missing:
        names = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        raise ImportError(
            f"{what} needs {names}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            f'pip install "keras-vq[{extra}]"'
        )


def is_missing(package: str) -> bool:
    """Checks for a package that is not installed; a folder of its name is none."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # an import hook refuses it, or it is half imported
        return True
    return spec is None or spec.origin is None


def first_line(error: Exception) -> str:
    """The first line of what a converter's error says: pages of its inner state may follow."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """How a process ended that failed: the end of a sentence that begins with it."""
    if done.returncode < 0:
        return f"was killed by signal {-done.returncode} (out of memory?)"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return f"failed: {lines[-1].strip()}" if lines else f"ended with code {done.returncode}"
