"""Tests of optional packages: the core works without them, and errors name the right extra."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.backend_free

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Import names of the packages of extras that users install.
OPTIONAL = (
    "ai_edge_litert",
    "ai_edge_quantizer",
    "click",
    "constriction",
    "huggingface_hub",
    "jax2onnx",
    "mlserver",
    "onnx",
    "onnxruntime",
    "openvino",
    "sklearn",
    "tensorboard",
    "tensorflow_serving",
    "tf2onnx",
)
# Hides the packages, then runs the script with all extras.
SCRIPT = """
import runpy, sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: (
    None if name.partition(".")[0] in {optional} else find(name, path, target)
)
runpy.run_path({script!r}, run_name="__main__")
"""
EXTRAS = [
    "cli",
    "codec",
    "hub",
    "litert",
    "onnx",
    "openvino",
    "saved-model",
    "serve",
    "sklearn",
    "tensorboard",
]


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    script = str(ROOT / "tests" / "features_of_extras.py")
    code = SCRIPT.format(optional=OPTIONAL, script=script)
    done = subprocess.run(
        [sys.executable, "-c", code, *EXTRAS],
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("without_extras"),
        check=False,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_feature_without_its_packages_names_the_extra(messages, extra):
    if extra == "serve":
        extra = "cli"  # click is missing first
    assert re.search(rf'pip install "keras-vq\[{extra}\]"', messages[extra])


def test_the_page_on_installation_lists_all_extras_and_packages():
    page = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    tables = page.partition("<!-- extras -->")[2]
    extras = set(PROJECT["optional-dependencies"]) - {"all", "jax", "tensorflow", "torch"}
    assert set(re.findall(r"^\| `([a-z-]+)`", tables, re.MULTILINE)) == extras
    for requirement in PROJECT["dependencies"]:
        assert re.match(r"[\w-]+", requirement)[0] in tables


def test_all_contains_every_extra_that_a_feature_needs(messages):
    def packages(extra):
        found = set()
        for requirement in PROJECT["optional-dependencies"][extra]:
            inner = re.fullmatch(r"keras-vq\[(.*)\]", requirement)
            names = inner[1].split(",") if inner else ()
            found |= {requirement} if not inner else set().union(*map(packages, names))
        return found

    assert set().union(*map(packages, [*messages, "export"])) == packages("all")
