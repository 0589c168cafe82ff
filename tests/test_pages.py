"""Tests that the code of the README and of the pages outside the guides runs on each backend."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import keras_vq
from tests.pages import ROOT, run_page

DIGITS = keras_vq.data.load("digits", "train").take(64)


def few_of_the_right_size(name, split):
    """Returns 64 digits in place of the images of a data set."""
    del split
    images = np.pad(
        DIGITS.images.repeat(3, axis=1).repeat(3, axis=2), [(0, 0), (2, 2), (2, 2), (0, 0)]
    )
    if name == "cifar10":
        images = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)]).repeat(3, axis=-1)
    return SimpleNamespace(images=images, labels=DIGITS.labels)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Returns a function that runs the code of a page with few images and one epoch."""
    monkeypatch.setattr(keras_vq.data, "load", few_of_the_right_size)
    monkeypatch.chdir(tmp_path)
    return lambda name: run_page(ROOT / name)


def test_readme(run):
    names = run("README.md")
    assert names["codes"].shape == (64, 7, 7)
    assert Path("reconstructions.png").exists()


def test_page_on_generation(run):
    names = run("docs/generation.md")
    assert names["images"].shape == (100, 28, 28, 1)
    assert Path("sevens.png").exists()


def test_page_on_models(run):
    names = run("docs/models.md")
    assert names["vae"].beta == 0.0  # the schedule of the first step; the default is 1
    logs = names["logs"]
    assert logs["reconstruction_loss"][0] > logs["mse"][0]


def test_page_on_pretrained_models(run):
    names = run("docs/pretrained.md")
    assert names["codes"].shape == (1, 16, 16)
    assert names["unchanged"]
    assert names["sound_codes"].shape == (1, 10, 4)
    assert names["restored"].shape == (9600, 1)


def test_page_on_compression(run, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 70, 3), "uint8")
    Image.fromarray(noise).save(tmp_path / "photo.jpg")
    names = run("docs/compression.md")
    assert names["image"].shape == (40, 70, 3)
    assert names["small"].startswith(b"KVQ")


@pytest.mark.backend_free  # each other backend would start TensorFlow for two of the formats
@pytest.mark.filterwarnings("ignore")  # of converters
def test_page_on_export(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = few_of_the_right_size("mnist", "train").images[:8]
    names = run_page(ROOT / "docs" / "export.md", {"images": images})
    assert names["codes"].shape == (8, 7, 7)


def test_page_on_performance(run):
    names = run("docs/performance.md")
    assert names["model"].jit_compile
    assert names["another_model"].optimizer.iterations == 1
