"""What an export that can't be made raises."""

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
        raise ImportError(
            f"{what} needs {', '.join(missing)}, which is not installed: "
            f'pip install "keras-vq[{extra}]"'
        )


def is_missing(package: str) -> bool:
    """Whether a package is not installed."""
    try:
        return find_spec(package) is None
    except ModuleNotFoundError:  # of a package that this one lies in
        return True
