"""Checks for optional packages: tests without them are skipped, but fail in CI."""

import os
from importlib.util import find_spec

import pytest


def needed(*packages):
    """Skips the calling module or test if a package is not installed, or fails it in CI.

    `nox` installs all packages and sets KERAS_VQ_ALL_TESTS, with which tests fail too.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if not missing:
        return
    text = f'not installed: {", ".join(missing)} (pip install -e ".[dev,benchmarks,export,serve]")'
    if os.environ.get("CI") or os.environ.get("KERAS_VQ_ALL_TESTS"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text, allow_module_level=True)
