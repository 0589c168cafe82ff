"""Every test has a cache folder of its own, and no test reads the user's."""

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
    """The folder of sets prepared by TFDS that the machine really has."""
    if not REAL_SETS:
        pytest.skip("needs TFDS_DATA_DIR, a folder of sets prepared by TFDS")
    return REAL_SETS
