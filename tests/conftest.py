"""Fixtures of all tests. `KERAS_BACKEND` selects the backend; `nox` runs all three."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "JAX_COMPILATION_CACHE_DIR" in os.environ:
    # A separate folder per process, because JAX does not write its files atomically.
    process = os.environ.get("PYTEST_XDIST_WORKER", "main")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(
        os.environ["JAX_COMPILATION_CACHE_DIR"], process
    )

import keras
import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")


def pytest_collection_modifyitems(config, items):
    """Runs tests that do not depend on the backend on TensorFlow only."""
    if keras.backend.backend() != "tensorflow":
        left_out = [item for item in items if item.get_closest_marker("backend_free")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def digits():
    """Returns the 1,797 digits of scikit-learn. Float32 in [0, 1], shape `(n, 8, 8, 1)`."""
    from sklearn.datasets import load_digits

    return (load_digits().images[..., None] / 16).astype("float32")
