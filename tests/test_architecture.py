"""Tests of code rules that no other tool checks."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_vq
from tests.needed import needed

PACKAGE = Path(keras_vq.__file__).parent


def test_only_one_file_asks_which_backend_runs():
    asks = re.compile(
        r"backend\.backend\(|config\.backend|KERAS_BACKEND"
        r"|^\s*(import|from) (tensorflow|jax|torch)\b",
        re.MULTILINE,
    )
    # `data` and `export` use TensorFlow for files on all backends; `_by_backend` has the code that
    # `_backend` imports for one backend.
    allowed = {PACKAGE / "_backend.py", PACKAGE / "_backend_choice.py"}
    foreign = {"data", "export", "_by_backend"}
    asking = [
        path
        for path in PACKAGE.rglob("*.py")
        if path not in allowed
        and not foreign & set(path.relative_to(PACKAGE).parts)
        and asks.search(path.read_text())
    ]
    assert asking == []


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )


def test_import_loads_nothing_that_keras_does_not():
    """Checks that no other backend and no library of single functions is imported."""
    others = {"tensorflow", "jax", "torch"} - {keras.backend.backend()}
    watched = sorted(("sklearn", "matplotlib", "tensorflow_datasets", "rich", "PIL", *others))
    tell = f"import sys; print([name for name in {watched} if name in sys.modules])"
    alone, ours = run(f"import keras; {tell}"), run(f"import keras, keras_vq; {tell}")
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout == alone.stdout


BLOCKED = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec

def find_unless_blocked(name, path=None, target=None):
    return None if name.partition(".")[0] in {blocked!r} else find(name, path, target)

PathFinder.find_spec = find_unless_blocked
import numpy as np
import keras_vq

images = keras_vq.data.load("digits", "train").take(64).images
encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
model.compile("adam")
model.fit(images, epochs=1, verbose=0)
logs = model.evaluate(images, verbose=0, return_dict=True)
print("finite:", np.isfinite(logs["loss"]))
"""


def test_one_installed_backend_is_enough():
    others = {"tensorflow", "jax", "torch"} - {keras.backend.backend()}
    result = run(BLOCKED.format(blocked=others))
    assert result.stdout.strip().endswith("finite: True"), result.stderr


@pytest.mark.backend_free
@pytest.mark.parametrize("variable", ["CI", "KERAS_VQ_ALL_TESTS", None])
def test_a_missing_package_of_an_extra_fails_in_ci(monkeypatch, variable):
    for name in ("CI", "KERAS_VQ_ALL_TESTS"):
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, "true")
    needed("numpy")
    outcome = pytest.skip.Exception if variable is None else pytest.fail.Exception
    with pytest.raises(outcome, match="not installed: no_such_package "):
        needed("numpy", "no_such_package")


def test_no_other_way_leaves_tests_out_for_a_package():
    """Except for Triton, which is not a dependency."""
    skips = re.compile(r"importorskip\((?!\"triton\")|collect_ignore|find_spec\(.*skip")
    tests = Path(__file__).parent
    asking = [path for path in tests.rglob("*.py") if skips.search(path.read_text())]
    assert asking == [Path(__file__)]
