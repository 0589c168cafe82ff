"""Tests of the contents of distributions, and of files that repeat the version."""

import re
import sys
from pathlib import Path

import pytest

import keras_vq

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

import check_package  # noqa: E402

pytestmark = pytest.mark.backend_free

WHEEL = [
    "keras_vq/__init__.py",
    "keras_vq/py.typed",
    "keras_vq_cli/main.py",
    "keras_vq-0.1.0.dist-info/METADATA",
    *(f"keras_vq/saved_models/{preset}/model.keras" for preset in check_package.PRESETS),
]
SOURCE = [
    f"keras_vq-0.1.0/{name}"
    for name in ("pyproject.toml", "noxfile.py", "tests/conftest.py", "CHANGELOG.md", "LICENSE")
]


def test_complete_distributions():
    assert check_package.problems(WHEEL, SOURCE) == []


@pytest.mark.parametrize(
    ("wheel", "source", "expected"),
    [
        ([*WHEEL, "tests/test_a.py"], SOURCE, "must contain keras_vq and keras_vq_cli only"),
        ([*WHEEL, "keras_vq/tests/a.py"], SOURCE, "must not contain keras_vq/tests/a.py"),
        (WHEEL[:-1], SOURCE, "must contain keras_vq/saved_models/vqvae_mnist/model.keras"),
        (WHEEL, SOURCE[1:], "source must contain pyproject.toml"),
    ],
)
def test_missing_and_surplus_files_are_named(wheel, source, expected):
    assert any(expected in line for line in check_package.problems(wheel, source))


def test_presets_of_the_repository_are_those_of_the_wheel():
    folders = sorted(path.parent.name for path in ROOT.glob("saved_models/*/model.keras"))
    assert folders == sorted(check_package.PRESETS)
    included = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f'"saved_models/{name}" = ' in included for name in folders)


def test_files_that_repeat_the_version():
    version = re.escape(keras_vq.__version__)
    for name, line in (("CITATION.cff", "version: {}"), ("CHANGELOG.md", r"## \[{}\] - .*")):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert re.search(f"^{line.format(version)}$", text, re.MULTILINE), name
