"""Fixtures that run the command in this process, in an empty folder with a separate cache."""

import os
from pathlib import Path
from typing import NamedTuple

import keras
import pytest

from keras_vq_cli.main import main
from tests.cli.tiny_run import TINY_CODES


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def environment(monkeypatch, cache_folder):
    """Sets the environment of subprocesses: backend, cache folder and terminal width."""
    monkeypatch.setenv("KERAS_BACKEND", keras.config.backend())
    monkeypatch.setenv("KERAS_VQ_CACHE", str(cache_folder))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    return os.environ


@pytest.fixture
def run(environment, monkeypatch, tmp_path, capsys):
    """Returns a function that runs the command in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        result = Result(code, *capsys.readouterr())
        assert "Traceback" not in result.out + result.err
        return result

    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, cache_folder):
    """Returns the folder of a small finished VQ-VAE run. Tests must not modify it."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("KERAS_BACKEND", keras.config.backend())
        monkeypatch.setenv("KERAS_VQ_CACHE", str(cache_folder))
        assert main(["train", *TINY_CODES, "--epochs", "2", "--quiet", "--out", str(folder)]) == 0
    return folder
