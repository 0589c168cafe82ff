"""Tests that the recipes run, with few images."""

import dataclasses
import io
import json
import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

import keras_vq
from recipes import _classifier, common, notebooks
from recipes.common import DATASETS, name_of_run
from recipes.compare_quantizers import QUANTIZERS
from tests.needed import needed

ROOT = Path(__file__).parents[1]


def has_mnist():
    folder = os.environ.get("TFDS_DATA_DIR")
    return folder is not None and os.path.isdir(os.path.join(folder, "mnist"))


def has_cifar10():
    folder = os.environ.get("TFDS_DATA_DIR")
    return folder is not None and os.path.isdir(os.path.join(folder, "cifar10"))


NEEDS_CIFAR10 = pytest.mark.skipif(not has_cifar10(), reason="no CIFAR-10 in TFDS_DATA_DIR")
NEEDS_MNIST = pytest.mark.skipif(not has_mnist(), reason="no MNIST in TFDS_DATA_DIR")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Returns a shared cache folder for decoded images and trained models."""
    return tmp_path_factory.mktemp("cache")


def small_classifier(monkeypatch, name):
    """Replaces the settings of a classifier; few features also suffice for few images."""
    few = dataclasses.replace(_classifier.SETTINGS[name], filters=(4,), features=8, epochs=1)
    monkeypatch.setitem(_classifier.SETTINGS, name, few)
    return few


@pytest.fixture
def run(tmp_path, cache, monkeypatch):
    """Returns a function that runs a recipe in this process, because backends start slowly."""
    import tensorflow as tf

    for data_set in _classifier.SETTINGS:
        small_classifier(monkeypatch, data_set)

    def run(recipe, *arguments, name=None, traced=False):
        # Tracing takes longer than a few steps, but not than the loops of generation.
        tf.config.run_functions_eagerly(not traced)
        monkeypatch.setenv("KERAS_VQ_RESULTS", str(tmp_path))
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        monkeypatch.setattr(sys, "argv", [recipe, *arguments])
        with warnings.catch_warnings():
            # Fits to few images raise warnings.
            warnings.simplefilter("ignore")
            runpy.run_module(f"recipes.{recipe}", run_name="__main__", alter_sys=True)
        record = json.loads((tmp_path / f"{name or recipe}.json").read_text())
        assert record["command"] == " ".join(["python", "-m", f"recipes.{recipe}", *arguments])
        return record

    yield run
    tf.config.run_functions_eagerly(False)


@pytest.mark.backend_free
@pytest.mark.parametrize(("width", "tables"), [(200, 1), (60, 2), (30, 3)])
def test_tables_fit_the_screen(width, tables):
    columns = ["test MSE", "PSNR, dB", "label agreement of 10 neighbors, %", "training, s"]
    rows = {f"a model of the kind {kind}": dict.fromkeys(columns, 0.25) for kind in "ab"}
    console = Console(width=width, record=True, file=io.StringIO())
    found = common.tables_that_fit(rows, columns, console)
    assert len(found) == tables
    for table in found:
        console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert all(line[-1] in "┓┃┩│┘" for line in text.splitlines())
    assert text.count("0.25") == 2 * len(columns)
    assert text.count("PSNR") == 1
    assert "…" not in text


@NEEDS_MNIST
@pytest.mark.backend_free
@pytest.mark.parametrize("recipe", ["autoencoder_mnist", "vae_mnist"])
def test_mnist_recipe(recipe, run, tmp_path):
    record = run(recipe, "--epochs", "1", "--limit", "256")
    assert all(np.isfinite(value) for value in record["figures"].values())
    assert record["seed"] == 0
    assert (tmp_path / f"{recipe}.png").stat().st_size > 10_000


@NEEDS_MNIST
@pytest.mark.backend_free
def test_latent_space_mnist(run, tmp_path):
    figures = run("latent_space_mnist", "--limit", "256")["figures"]
    assert list(figures)[:2] == ["VAE, standard normal", "VAE, mixture of 10 Gaussians"]
    for row in figures.values():
        assert all(np.isfinite(value) for value in row.values())
        assert row["images"] == 256
    for name in ("latent_space_mnist", "latent_space_mnist_samples"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


@NEEDS_MNIST
@pytest.mark.backend_free
def test_classifier_is_trained_once(tmp_path, monkeypatch):
    monkeypatch.setattr(_classifier, "cache_folder", lambda: tmp_path)
    few = small_classifier(monkeypatch, "mnist")
    first = _classifier.classifier("mnist", limit=64)
    images = keras_vq.data.load("mnist", "test").take(64)
    classes = first.model.predict(images.images, verbose=0).argmax(axis=1)
    assert first.test_accuracy == np.mean(classes == images.labels)
    assert first.feature_network.predict(images.images, verbose=0).shape == (64, 8)

    trainings = []

    def train(*args):
        trainings.append(args)
        return _classifier.build(few, (28, 28, 1), 10)

    monkeypatch.setattr(_classifier, "train", train)
    again = _classifier.classifier("mnist", limit=64)
    assert trainings == []
    np.testing.assert_allclose(
        again.model.predict(images.images, verbose=0),
        first.model.predict(images.images, verbose=0),
        atol=1e-6,
    )
    # Other settings or images give another classifier.
    _classifier.classifier("mnist", limit=32)
    monkeypatch.setitem(_classifier.SETTINGS, "mnist", dataclasses.replace(few, seed=1))
    _classifier.classifier("mnist", limit=64)
    assert trainings == [("mnist", 32), ("mnist", 64)]
    assert len(list((tmp_path / "classifiers").glob("mnist-*.keras"))) == 3
    assert len(list((tmp_path / "classifiers").iterdir())) == 3


GENERATIONS = [
    pytest.param(
        "generate_mnist",
        ("--vqvae-epochs", "1", "--only", "transformer, by label", "--prior-epochs"),
        marks=NEEDS_MNIST,
    ),
    pytest.param("generate_cifar10", ("--epochs",), marks=NEEDS_CIFAR10),
]


@pytest.mark.backend_free
@pytest.mark.parametrize(("recipe", "epochs"), GENERATIONS)
def test_generation(recipe, epochs, run, tmp_path, monkeypatch):
    monkeypatch.setattr("recipes._generation.NAIVE", 4)
    figures = run(recipe, "--limit", "40", *epochs, "1", traced=True)["figures"]
    assert len(figures) == 2
    row = figures["transformer, by label"]
    codes = 49 if recipe == "generate_mnist" else 64
    assert row["bits per image"] / codes * np.log(2) == pytest.approx(
        row["validation nats per code"]
    )
    assert row["codes equal to the naive loop's, %"] > 99
    assert 0 <= row["class accuracy, %"] <= 100
    assert (tmp_path / f"{recipe}.png").stat().st_size > 10_000


ONE_EPOCH = ("--epochs", "1", "--limit", "128")
# Recipes for two data sets are tested with one of them.
ON_MNIST, ON_CIFAR10 = ("--datasets", "mnist"), ("--datasets", "cifar10")
# Recipes with tables: arguments, pictures, rows.
TABLES = {
    "vqvae_mnist": ((*ONE_EPOCH, "--long-epochs", "1"), ["vqvae_mnist"], 4),
    "vqvae_cifar10": (("--steps", "2", "--limit", "32"), ["vqvae_cifar10"], 4),
    "denoise": ((*ONE_EPOCH, *ON_MNIST), ["denoise_mnist"], 5),
    "super_resolution": ((*ONE_EPOCH, *ON_CIFAR10), ["super_resolution_cifar10"], 4),
    "inpaint": ((*ONE_EPOCH, *ON_CIFAR10), ["inpaint_cifar10"], 4),
    "sequences": (("--epochs", "1", "--limit", "16"), ["sequences", "sequences_rates"], 24),
    "compress": (
        ("--limit", "64", "--vqvae-epochs", "1", "--prior-epochs", "1", *ON_MNIST),
        ["compress_mnist"],
        24,
    ),
    "compare_models": (
        ("--epochs", "1", "--limit", "64", *ON_MNIST),
        ["compare_models_mnist"],
        4,
    ),
    "image_analysis": (
        ("--epochs", "1", "--limit", "64", *ON_CIFAR10),
        ["image_analysis_cifar10_codes", "image_analysis_cifar10_tsne"],
        6,
    ),
    "codebook_collapse": (ONE_EPOCH, ["codebook_collapse"], 8),
    "choose_codebook": (
        ("--steps", "2", "--limit", "128", "--sizes", "4"),
        ["choose_codebook"],
        5,
    ),
    "augment": (("--epochs", "1", "--limit", "32"), ["augment"], 4),
    "regularized_autoencoders": (ONE_EPOCH, ["regularized_autoencoders"], 4),
    "optimizers": (("--steps", "2", "--limit", "64"), ["optimizers"], 15),
}


@NEEDS_MNIST
@NEEDS_CIFAR10
@pytest.mark.backend_free
@pytest.mark.parametrize("recipe", TABLES)
def test_table(recipe, run, tmp_path):
    arguments, pictures, rows = TABLES[recipe]
    datasets = [arguments[-1]] if "--datasets" in arguments else DATASETS
    record = run(recipe, *arguments, name=name_of_run(recipe, datasets))
    assert len(record["figures"]) == rows
    for name, row in record["figures"].items():
        assert all(value is None or np.isfinite(value) for value in row.values()), name
    for picture in pictures:
        assert (tmp_path / f"{picture}.png").stat().st_size > 10_000


@NEEDS_MNIST
@NEEDS_CIFAR10
@pytest.mark.backend_free
@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (ROOT / "notebooks" / "scripts").glob("*.py"))
)
def test_notebook(name, tmp_path, cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    eagerly = "import tensorflow as tf\ntf.config.run_functions_eagerly(True)"
    monkeypatch.setattr(notebooks, "SMALL", f"{notebooks.SMALL}\n{eagerly}")
    few = ("--only", name, "--out", str(tmp_path), "--small")
    monkeypatch.setattr(sys, "argv", ["notebooks", *few])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        notebooks.main()
    notebook = json.loads((tmp_path / f"{name}.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert "image/png" in kinds or name == "export"
    printed = "".join(line for output in outputs for line in output.get("text", []))
    assert not {"\r", "\x1b", "\x08"} & set(printed)


@pytest.mark.backend_free
def test_a_notebook_shows_what_a_screen_shows():
    bar = "\x1b[1m1/2\x1b[0m ━╸ 1s\r\x1b[1m2/2\x1b[0m ━━ 0s\x08\x08\r\n"
    text = f"Epoch 1/1\n{bar}WARNING:tensorflow:5 out of the last 6 calls\nPSNR 24.6 dB\n"
    assert notebooks.as_on_a_screen(text) == "Epoch 1/1\n2/2 ━━ 0s\nPSNR 24.6 dB\n"


@NEEDS_CIFAR10
@pytest.mark.backend_free
def test_compare_quantizers(run, tmp_path):
    arguments = ("--steps", "3", "--limit", "64", "--only", "FSQ")
    record = run("compare_quantizers", *arguments, name="compare_quantizers_FSQ")
    assert list(record["figures"]) == ["FSQ, 9 bits", "FSQ, 12 bits"]
    for row in record["figures"].values():
        assert all(np.isfinite(value) for value in row.values())
    assert not list(tmp_path.glob(".*"))


@pytest.mark.backend_free
def test_all_compared_quantizers_are_built():
    assert all(isinstance(build(9), keras_vq.Quantizer) for build in QUANTIZERS.values())


@NEEDS_MNIST
@pytest.mark.backend_free
def test_keras_hub_rqvae(run):
    """Without the row of KerasHub, which cannot be installed with this version of TensorFlow."""
    few = ("--only", "keras_vq", "--epochs", "1", "--seeds", "1", "--limit", "128", "--codes", "4")
    figures = run("keras_hub_rqvae", *few, name="keras_hub_rqvae_4")["figures"]
    assert len(figures) == 3
    for row in figures.values():
        assert all(np.isfinite(value) for value in row.values())
        assert 0 < row["different code tuples, %"] <= 100


@pytest.mark.backend_free
def test_large_codebook(run):
    small = ("--codes", "256", "--vectors", "512", "--dim", "8", "--backends", "torch")
    figures = run("large_codebook", *small)["figures"]
    assert figures["all distances, MiB"] == 0.5
    assert all(value >= 0 for value in figures.values())


@NEEDS_MNIST
@pytest.mark.backend_free
def test_exports(run):
    needed("ai_edge_litert")
    few = ("--only", "vae_mnist", "--backends", "tensorflow", "--formats", "openvino")
    rows = run("exports", *few, "--count", "64")["figures"]
    assert [name.partition(": ")[0] for name in rows] == [
        "vae_mnist, openvino, float32, from tensorflow",
        "vae_mnist, openvino, float16, from tensorflow",
    ]
    exact, halved = rows.values()
    assert exact["largest pixel difference"] < 1e-5 < halved["largest pixel difference"]


@NEEDS_MNIST
@pytest.mark.backend_free
def test_saved_models(tmp_path):
    out = tmp_path / "saved"
    few = ("--only", "vqvae_mnist", "--limit", "256", "--out", str(out))
    subprocess.run([sys.executable, "-m", "recipes.saved_models", *few], check=True)
    assert keras_vq.VQVAE.from_preset(out / "vqvae_mnist").quantizer.codebook_size == 128


@NEEDS_MNIST
@pytest.mark.backend_free
def test_serve_load(run):
    needed("mlserver")
    figures = run("serve_load", "--seconds", "1")["figures"]
    assert figures["codes that agree with the model's"] == 1.0


@pytest.mark.backend_free
def test_backends_agree(run):
    record = run("backends_agree", "--steps", "10")
    for backend in ("jax", "torch"):
        assert record["figures"][f"largest difference of a step, {backend}"] < 1e-4


@NEEDS_MNIST
def test_short_fit_on_real_mnist():
    """Checks that the error of a VQ-VAE is well below the data variance."""
    images = keras_vq.data.load("mnist", "train[:512]").images
    encoder, decoder = keras_vq.networks.convolutional((28, 28, 1), filters=(8, 16), latent_dim=8)
    # High learning rate and low decay, because there are only 96 steps.
    codebook = keras_vq.EMACodebook(32, decay=0.9, restart=keras_vq.DeadCodeRestart())
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(codebook=codebook), decoder)
    model.compile(keras.optimizers.Adam(1e-2))
    history = model.fit(images, batch_size=32, epochs=6, verbose=0).history
    assert history["reconstruction_loss"][-1] < 0.5 * history["reconstruction_loss"][0]
    assert np.square(model.reconstruct(images) - images).mean() < 0.5 * images.var()
