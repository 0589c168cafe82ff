"""Tests of `keras-vq train`: contents of the run folder, and errors in data or settings."""

import csv
import json
import shlex
import warnings

import keras
import numpy as np
import pytest
from PIL import Image

import keras_vq
import keras_vq.data
from keras_vq_cli import pipeline
from keras_vq_cli.settings import Settings, default_halvings
from tests.cli.tiny_run import TINY, TINY_CODES

FILES = {
    "config.json",
    "history.csv",
    "history.png",
    "metrics.json",
    "model.keras",
    "reconstructions.png",
}


def read_history(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def write_images(folder, count, size=(8, 8)):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (*size, 3), "uint8")
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_a_run_folder(finished_run, cache_folder, monkeypatch):
    assert {path.name for path in finished_run.iterdir()} == FILES

    config = json.loads((finished_run / "config.json").read_text())
    assert config["backend"] == keras.config.backend()
    assert config["image_shape"] == [8, 8, 1]
    assert config["train_images"] == 96
    assert config["settings"]["network"] == "convolutional"
    assert config["settings"]["seed"] == 0
    assert config["versions"]["keras"] == keras.__version__
    assert shlex.split(config["command"])[:2] == ["keras-vq", "train"]

    history = read_history(finished_run)
    assert [row["epoch"] for row in history] == ["1", "2"]
    columns = ["epoch", "loss", "quantization_loss", "reconstruction_loss"]
    assert list(history[0])[:4] == columns
    assert {"val_loss", "perplexity", "seconds"} <= set(history[0])

    # The metrics equal those measured with the loaded model.
    monkeypatch.setenv("KERAS_VQ_CACHE", str(cache_folder))
    metrics = json.loads((finished_run / "metrics.json").read_text())
    model = keras_vq.load_model(finished_run / "model.keras")
    images = keras_vq.data.load("digits", "test").images
    errors = (np.clip(model.reconstruct(images), 0, 1) - images).reshape(len(images), -1)
    assert metrics["mse"] == pytest.approx(np.square(errors).mean(), rel=1e-4)
    psnr = keras_vq.metrics.PSNR()
    psnr.update_state(images, np.clip(model.reconstruct(images), 0, 1))
    assert metrics["psnr"] == pytest.approx(float(psnr.result()), rel=1e-4)
    assert metrics["bits_per_image"] == 4 * 4 * 3
    assert metrics["loss"] == pytest.approx(
        metrics["reconstruction_loss"] + metrics["quantization_loss"], rel=1e-4
    )
    assert metrics["test_images"] == 360
    assert metrics["epochs"] == 2
    learned = model.encoder.count_params() + model.decoder.count_params() + 8 * 4
    assert metrics["parameters"] == learned
    assert metrics["train_seconds"] > 0
    assert 0 < metrics["codebook_usage"] <= 1
    assert 1 <= metrics["perplexity"] <= 8


@pytest.mark.backend_free
def test_default_folders_are_numbered_and_results_are_printed(run, tmp_path):
    options = ["--model", "autoencoder", "--network", "dense", *TINY, "--epochs", "1"]
    result = run("train", *options)
    assert result.code == 0
    assert "mean squared error" in result.out
    assert "runs/autoencoder-digits/reconstructions.png" in result.out
    assert "epoch 1/1  loss" in result.err
    assert run("train", *options, "--quiet") == (0, "", "")
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert folders == ["autoencoder-digits", "autoencoder-digits-2"]
    metrics = json.loads((tmp_path / "runs/autoencoder-digits/metrics.json").read_text())
    assert metrics["bits_per_image"] is None


@pytest.mark.backend_free
def test_nothing_is_overwritten(run, finished_run):
    before = {path: path.stat().st_mtime_ns for path in finished_run.iterdir()}
    result = run("train", *TINY_CODES, "--out", finished_run)
    assert result.code == 2
    assert f"keras-vq train --resume --out {finished_run}" in result.err
    assert {path: path.stat().st_mtime_ns for path in finished_run.iterdir()} == before


@pytest.mark.backend_free
def test_a_folder_of_images_without_splits_to_spare(run, tmp_path):
    """Color images of odd sizes, only a training split, and a broken file."""
    folder = write_images(tmp_path / "photos" / "train", 40, (7, 9))
    (folder / "broken.png").write_bytes(b"nothing")
    # The command prints warnings of keras_vq itself.
    warnings.simplefilter("default")
    options = ["train", "--dataset", "photos", "--model", "vae", "--latent-dim", 2, "--epochs", 1]
    result = run(*options, "--out", "new")
    assert result.code == 2
    assert "--skip-broken" in result.err
    assert "broken.png" in result.err
    assert not (tmp_path / "new").exists()

    result = run(*options, "--skip-broken", "--filters", 8, "--out", "new")
    assert result.code == 0
    assert "Warning: Skipped 1 of 41 images" in result.err
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["settings"]["network"] == "convolutional"
    assert config["settings"]["dataset"] == str((tmp_path / "photos").resolve())
    assert (config["train_images"], config["test_images"]) == (36, 4)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {*FILES, "samples.png"}


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("args", "messages"),
    [
        (["--dataset", "mnits", "--data-dir", "."], ["Did you mean 'mnist'", "Received: 'mnits'"]),
        (["--dataset", "./nowhere"], ["must be an existing folder"]),
        (["--dataset", "sizes"], ["--image-size H W", "8x8", "9x9"]),
        (["--limit", "10", "--codebook-size", "500"], ["--codebook-size", "500 vectors"]),
    ],
)
def test_mistakes_that_data_or_model_show(run, tmp_path, args, messages):
    write_images(tmp_path / "sizes" / "train", 3)
    write_images(tmp_path / "sizes" / "test", 1, (9, 9))
    result = run("train", "--out", "new", *args)
    assert result.code == 2, result
    for message in messages:
        assert message in result.err
    assert result.err.count("Error: ") == 1


def test_a_run_gone_astray_keeps_no_spoilt_model(run, tmp_path):
    result = run("train", "--out", "new", "--learning-rate", "1e18", "--epochs", "3", *TINY)
    assert result.code == 2
    assert "lower --learning-rate" in result.err
    model = tmp_path / "new" / "model.keras"
    if model.exists():
        weights = keras_vq.load_model(model).get_weights()
        assert all(np.isfinite(weight).all() for weight in weights)


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("size", "halvings"),
    [
        ((8, 8), 1),
        ((16, 16), 2),
        ((28, 28), 2),
        ((32, 32), 2),
        ((64, 64), 2),
        ((30, 30), 2),
        ((96, 96), 3),
        ((256, 512), 4),
        ((100, 100), 3),
        ((33, 32), 2),
    ],
)
def test_strided_layers_fit_the_size(size, halvings):
    assert default_halvings(*size) == halvings
    completed = Settings().completed((*size, 3), images=10)
    assert completed.network == "convolutional"
    assert completed.filters is not None
    assert len(completed.filters) == halvings


@pytest.mark.backend_free
@pytest.mark.parametrize("network", ["convolutional", "residual_convolutional", "dense"])
@pytest.mark.parametrize("kind", ["vqvae", "vae", "autoencoder"])
def test_every_model_takes_every_network(kind, network):
    options = {"model": kind, "network": network, "latent_dim": 3}
    settings = Settings.from_options(options).completed((8, 12, 3), images=10)
    model = pipeline.build_model(settings, (8, 12, 3))
    images = np.random.default_rng(0).random((2, 8, 12, 3), "float32")
    assert model.reconstruct(images).shape == images.shape
    latents = model.encode_quantized(images) if kind == "vqvae" else model.encode(images)
    assert latents.shape[-1] == 3
    # Models other than the VQ-VAE have one latent vector per image.
    assert latents.ndim == (2 if kind != "vqvae" else 3 if network == "dense" else 4)


def test_settings_reach_the_model():
    options = {
        "codebook": "gradient",
        "codebook_size": 7,
        "commitment": 0.5,
        "estimator": "rotation_trick",
        "learning_rate": 0.01,
        "mixed_precision": "bfloat16",
    }
    settings = Settings.from_options(options).completed((8, 8, 1), images=10)
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    model = pipeline.build_model(settings, (8, 8, 1))
    assert isinstance(model.quantizer.codebook, keras_vq.GradientCodebook)
    assert model.quantizer.codebook_size == 7
    assert model.quantizer.commitment_weight == 0.5
    assert model.quantizer.estimator is keras_vq.estimators.rotation_trick
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    assert model.encoder.layers[0].compute_dtype == "bfloat16"


@pytest.mark.backend_free
@pytest.mark.parametrize("change", [{"model": None}, {"nonsense": 1}])
def test_settings_of_another_version_are_refused(change):
    values = {**Settings().to_json(), **change}
    if None in change.values():
        del values["model"]
    with pytest.raises(ValueError, match="do not match this version"):
        Settings.from_json(values)
