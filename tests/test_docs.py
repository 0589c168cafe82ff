"""Tests of the documentation: its code runs, and the tests that it names exist."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

import keras_vq
from keras_vq import quantizers

pytestmark = pytest.mark.backend_free

ROOT = Path(__file__).parents[1]
# The table of quantizers, and those of vector-quantize-pytorch.
PAGE = "\n".join(
    (ROOT / "docs" / name).read_text(encoding="utf-8")
    for name in ("quantizers.md", "guides/coming_from_vector_quantize_pytorch.md")
)


def rows(heading):
    """Returns the table rows below a heading."""
    section = re.split(r"\n##? ", PAGE.partition(f"\n## {heading}\n")[2])[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


def expressions(heading):
    spans = re.findall(r"`([^`]+)`", "\n".join(rows(heading)))
    return [span for span in spans if span.startswith("keras_vq.")]


EXPRESSIONS = [
    *expressions("Which one"),
    *expressions("Option by option"),
]
TESTS = re.findall(r"`(tests/[^`]+)::([^`]+)`", PAGE)


@pytest.fixture
def run_page(tmp_path, monkeypatch):
    """Returns a function that runs the code of a page with few images and one epoch."""
    digits = keras_vq.data.load("digits", "train").take(64)

    def few_of_the_right_size(name, split):
        del split
        images = digits.images.repeat(3, axis=1).repeat(3, axis=2)
        images = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)])
        if name == "cifar10":
            images = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)]).repeat(3, axis=-1)
        return SimpleNamespace(images=images, labels=digits.labels)

    def run(name):
        page = (ROOT / "docs" / name).read_text(encoding="utf-8")
        monkeypatch.setattr(keras_vq.data, "load", few_of_the_right_size)
        monkeypatch.chdir(tmp_path)
        names = {}
        for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            exec(code.replace("epochs=10", "epochs=1"), names)  # trusted: part of this repository
        return names

    return run


def test_code_of_the_page_on_generation_runs(run_page):
    names = run_page("generation.md")
    assert names["images"].shape == (100, 28, 28, 1)
    assert Path("sevens.png").exists()


def test_code_of_the_page_on_models_runs(run_page):
    names = run_page("models.md")
    assert names["vae"].beta == 0.0  # the schedule of the first step; the default is 1
    logs = names["logs"]
    assert logs["reconstruction_loss"][0] > logs["mse"][0]


def test_code_of_the_page_on_pretrained_models_runs(run_page):
    names = run_page("pretrained.md")
    assert names["codes"].shape == (1, 16, 16)
    assert names["unchanged"]
    assert names["sound_codes"].shape == (1, 10, 4)
    assert names["restored"].shape == (9600, 1)


def test_code_of_the_page_on_compression_runs(run_page, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 70, 3), "uint8")
    Image.fromarray(noise).save(tmp_path / "photo.jpg")
    names = run_page("compression.md")
    assert names["image"].shape == (40, 70, 3)
    assert names["small"].startswith(b"KVQ")


@pytest.mark.parametrize("expression", sorted(set(EXPRESSIONS)))
def test_expressions_construct(expression):
    names = {"keras": keras, "keras_vq": keras_vq, "np": np}
    assert eval(expression, names) is not None  # trusted: part of this repository


def test_the_tables_are_found():
    assert len(EXPRESSIONS) > 60
    assert all(expressions("Which one")[place] for place in range(len(rows("Which one"))))


def test_every_feature_of_the_other_library_has_a_row():
    numbers = [int(line.split("|")[1]) for line in rows("Option by option")]
    assert numbers == list(range(1, 58))


@pytest.mark.parametrize("name", sorted(set(quantizers.__all__) - {"Quantizer"}))
def test_every_quantizer_is_on_the_page(name):
    assert f"keras_vq.{name}(" in PAGE


@pytest.mark.parametrize(("file", "name"), sorted(set(TESTS)))
def test_tests_that_the_page_names_exist(file, name):
    assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "codebook", [keras_vq.EMACodebook, keras_vq.SGDCodebook, keras_vq.ProjectedCodebook]
)
def test_a_penalty_that_would_do_nothing_is_refused(codebook):
    options = {"learning_rate": 1.0} if codebook is keras_vq.SGDCodebook else {}
    penalty = keras_vq.regularizers.Orthogonality(10.0)
    with pytest.raises(TypeError, match="has no argument `regularizer`"):
        codebook(8, regularizer=penalty, **options)


def test_code_of_the_page_on_performance_runs(run_page):
    names = run_page("performance.md")
    assert names["model"].jit_compile
    assert names["another_model"].optimizer.iterations == 1


def test_licenses_of_all_direct_dependencies_are_listed():
    script = Path(__file__).parents[1] / "docs" / "licenses.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
