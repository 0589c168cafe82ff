"""Packages of the extras of keras_vq that tests need: where one is missing, CI must not pass."""

import os
from importlib.util import find_spec

import pytest


def needed(*packages):
    """Fails the calling module or test in CI, and else skips it, if a package is not installed.

    `nox` installs all of them, and says by KERAS_VQ_ALL_TESTS that it did.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if not missing:
        return
    text = f'not installed: {", ".join(missing)} (pip install -e ".[dev,benchmarks,export,serve]")'
    if os.environ.get("CI") or os.environ.get("KERAS_VQ_ALL_TESTS"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text, allow_module_level=True)
