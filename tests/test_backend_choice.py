"""Tests of backend selection by `import keras_vq` if backends are not installed."""

import json
import os
import subprocess
import sys
from importlib.machinery import PathFinder

import pytest

from keras_vq import _backend_choice

pytestmark = pytest.mark.backend_free

ALL = _backend_choice.BACKENDS


@pytest.fixture
def choice(monkeypatch, tmp_path):
    """Returns a function from a set of installed backends to the selected backend."""
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def choice(*installed):
        monkeypatch.setattr(_backend_choice, "_is_installed", installed.__contains__)
        _backend_choice.choose()
        return os.environ["KERAS_BACKEND"]

    return choice


@pytest.mark.parametrize(
    ("named", "configured", "installed", "chosen"),
    [
        ("jax", '{"backend": "torch"}', ALL, "jax"),
        ("", '{"backend": "torch"}', ALL, "torch"),
        ("", '{"backend": "tensorflow"}', ("torch",), "torch"),
        ("", '{"backend": "numpy"}', ALL, "tensorflow"),
        ("", '{"backend": ["torch"]}', ALL, "tensorflow"),
        ("", "{", ("jax", "torch"), "jax"),
        ("", "[" * 100_000, ("jax", "torch"), "jax"),
        ("", "[]", ("torch",), "torch"),
        ("", None, ALL, "tensorflow"),
    ],
)
def test_order(choice, monkeypatch, tmp_path, named, configured, installed, chosen):
    monkeypatch.setenv("KERAS_BACKEND", named)
    if configured is not None:
        (tmp_path / "keras.json").write_text(configured)
    files = list(tmp_path.iterdir())
    assert choice(*installed) == chosen
    assert list(tmp_path.iterdir()) == files


@pytest.mark.parametrize(
    ("named", "installed", "error", "message"),
    [
        ("", (), ImportError, r'none is installed.*pip install "keras-vq\[tensorflow\]"$'),
        ("torch", (), ImportError, r'pip install "keras-vq\[torch\]"$'),
        ("torch", ("jax",), ImportError, r"torch is not installed. Set KERAS_BACKEND to jax, or"),
        ("theano", ALL, ValueError, r"KERAS_BACKEND='theano'$"),
    ],
)
def test_errors_are_one_sentence(choice, monkeypatch, named, installed, error, message):
    monkeypatch.setenv("KERAS_BACKEND", named)
    with pytest.raises(error, match=message) as raised:
        choice(*installed)
    assert "\n" not in str(raised.value)


def test_keras_that_is_imported_already_is_left_alone(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    _backend_choice.choose()
    assert os.environ["KERAS_BACKEND"] == "theano"


def test_what_is_installed(monkeypatch, tmp_path):
    (tmp_path / "no_backend").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert _backend_choice._is_installed("json")
    assert not _backend_choice._is_installed("no_backend")
    assert not _backend_choice._is_installed("none_such")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert not _backend_choice._is_installed("tensorflow")

    def refuse(name, path=None, target=None):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(PathFinder, "find_spec", refuse)
    assert not _backend_choice._is_installed("none_such")


BLOCKED = """
import sys
from importlib.machinery import PathFinder
hidden, find = set(sys.argv[1].split()), PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: (
    None if name.partition(".")[0] in hidden else find(name, path, target)
)
import keras_vq, keras
print(keras.config.backend())
"""


@pytest.mark.parametrize("installed", [(), ("jax",), ("torch",)])
def test_an_import_where_others_are_missing(tmp_path, installed):
    """Keras writes "tensorflow" to its file, which must not change later imports."""
    environment = {**os.environ, "KERAS_HOME": str(tmp_path)}
    environment.pop("KERAS_BACKEND", None)
    hidden = " ".join(set(ALL) - set(installed))
    command = [sys.executable, "-c", BLOCKED, hidden]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if not installed:
        assert done.stderr.splitlines()[-1].startswith(
            "ImportError: Keras requires tensorflow, jax or torch"
        )
        assert not list(tmp_path.iterdir())
        return
    assert done.stdout.split() == list(installed), done.stderr
    written = json.loads((tmp_path / "keras.json").read_text())
    assert written["backend"] == "tensorflow"
