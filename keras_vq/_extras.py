"""Checks of the packages that extras of keras-vq install."""

from importlib.util import find_spec


def require(packages: tuple[str, ...], extra: str, what: str) -> None:
    """Checks that packages are installed, without importing them.

    Args:
        packages: Tuple of strings. Import names.
        extra: String. Extra of keras-vq that installs the packages.
        what: String. Feature that requires the packages, for the error message.

    Raises:
        ImportError: If a package is missing.
    """
    missing = [package for package in packages if is_missing(package)]
    if missing:
        names = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        raise ImportError(f'{what} requires {names}. Install with: pip install "keras-vq[{extra}]"')


def is_missing(package: str) -> bool:
    """Returns whether a package is not installed. A folder of the same name is not a package."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # blocked by an import hook, or partly imported
        return True
    return spec is None or spec.origin is None
