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
# Features of each extra.
SCRIPT = """
import contextlib, io, json, sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: (
    None if name.partition(".")[0] in {optional} else find(name, path, target)
)
import numpy as np
import keras_vq
from keras_vq.codec import range_coding
from keras_vq_cli.main import main

images = np.random.default_rng(0).random((32, 8, 8, 1), "float32")
encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
model.compile("adam")
model.fit(images, epochs=1, verbose=0)
reconstructions = model.decode(model.encode(images))
keras_vq.plots.plot_reconstructions(images[:5], reconstructions[:5], filepath="pictures.png")

grid = keras_vq.callbacks.ReconstructionGrid
features = {{
    "cli": lambda: main(["--help"]),
    "codec": range_coding._constriction,
    "saved-model": lambda: model.export("saved"),
    "litert": lambda: model.export("m.tflite", format="litert"),
    "onnx": lambda: model.export("onnx", format="onnx"),
    "openvino": lambda: model.export("openvino", format="openvino"),
    "hub": lambda: keras_vq.from_pretrained("hf://owner/name"),
    "sklearn": lambda: model.quantizer.adapt(images.reshape(-1, 4)),
    "tensorboard": lambda: grid(images[:2], log_dir="logs"),
}}
messages = {{}}
for extra, feature in features.items():
    with contextlib.redirect_stderr(io.StringIO()) as written:
        try:
            feature()
            messages[extra] = written.getvalue()
        except ImportError as error:
            messages[extra] = str(error)
print(json.dumps(messages))
"""


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(optional=OPTIONAL)],
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("without_extras"),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "extra",
    ["cli", "codec", "hub", "litert", "onnx", "openvino", "saved-model", "sklearn", "tensorboard"],
)
def test_a_feature_without_its_packages_names_the_extra(messages, extra):
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

    assert set().union(*map(packages, [*messages, "export", "serve"])) == packages("all")
