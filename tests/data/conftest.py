"""Fixtures that give each test an empty cache folder instead of that of the user."""

import os

import pytest

REAL_SETS = os.environ.get("TFDS_DATA_DIR")


@pytest.fixture(autouse=True)
def cache_dir(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("KERAS_VQ_CACHE", str(folder))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.mktemp("no_sets")))
    return folder


@pytest.fixture
def real_sets():
    """Returns the TFDS folder of the machine, or skips the test if there is none."""
    if not REAL_SETS:
        pytest.skip("needs TFDS_DATA_DIR, a folder of sets prepared by TFDS")
    return REAL_SETS
