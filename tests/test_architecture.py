"""Tests of code rules that no other tool checks."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_vq
from tests.needed import needed

PACKAGE = Path(keras_vq.__file__).parent


def files(*left_out):
    return {
        str(path.relative_to(PACKAGE)): path.read_text()
        for path in PACKAGE.rglob("*.py")
        if not {*left_out} & {*path.relative_to(PACKAGE).parts}
    }


@pytest.mark.backend_free
def test_only_the_backend_package_asks_which_backend_runs():
    asks = re.compile(
        r"backend\.backend\(|config\.backend|environ[^\n]*KERAS_BACKEND|backend\.NAME [!=]="
        r"|^\s*(import|from) (tensorflow|jax|torch)\b",
        re.MULTILINE,
    )
    # `data` and `export` use TensorFlow for files on all backends.
    texts = files("backend", "_backend_choice.py", "data", "export")
    assert [name for name, text in texts.items() if asks.search(text)] == []


@pytest.mark.backend_free
def test_only_one_file_uses_private_modules():
    """Checks imports, not the names of warnings' modules."""
    private = re.compile(
        r"^\s*(import|from) (keras\.src|tensorflow\.(python|compiler|core))\b", re.MULTILINE
    )
    found = [name for name, text in files().items() if private.search(text)]
    assert found == ["backend/_private.py"]


@pytest.mark.backend_free
def test_only_one_file_uses_private_attributes_of_keras():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(), "mse", metrics=["mse"])
    objects = (model, model.layers[0], keras.Variable(0.0), model.optimizer, keras.metrics.Mean())
    names = {name for one in objects for name in dir(one) if re.match("_[a-z]", name)}
    names |= {"jax_state_sync"}
    used = {}
    for name, text in files("_private.py").items():
        attributes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)]
        own = {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
        own |= {node.name for node in ast.walk(ast.parse(text)) if hasattr(node, "name")}
        if found := {node.attr for node in attributes} & names - own:
            used[name] = found
    assert used == {}


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_training_loops_take_the_arguments_of_keras(method):
    models = [keras_vq.VQVAE, keras_vq.VAE, keras_vq.Autoencoder, keras_vq.priors.PixelCNNPrior]
    expected = inspect.signature(getattr(keras.Model, method)).parameters
    for model in models:
        found = inspect.signature(getattr(model, method)).parameters
        assert [(p.name, p.default) for p in found.values()] == [
            (p.name, p.default) for p in expected.values()
        ]


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
    watched.append("pyarrow.parquet")
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


@pytest.mark.backend_free
def test_no_other_way_leaves_tests_out_for_a_package():
    """Except for Triton, which is not a dependency."""
    skips = re.compile(r"importorskip\((?!\"triton\")|collect_ignore|find_spec\(.*skip")
    tests = Path(__file__).parent
    asking = [path for path in tests.rglob("*.py") if skips.search(path.read_text())]
    assert asking == [Path(__file__)]
