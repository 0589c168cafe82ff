"""Tests of the documentation: its expressions construct, and the tests that it names exist."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

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


def test_licenses_of_all_direct_dependencies_are_listed():
    script = Path(__file__).parents[1] / "docs" / "licenses.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
