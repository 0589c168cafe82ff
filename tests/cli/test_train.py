"""Tests of `keras-vq train`: contents of the run folder, and errors in data or settings."""

import csv
import json
import shlex
import warnings

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

import keras_vq
import keras_vq.data
from keras_vq_cli import building, configuration
from keras_vq_cli.files import parse_yaml
from keras_vq_cli.runs import read_config, read_record
from tests.cli.tiny_run import TINY, TINY_CODES

FILES = {
    "config.yaml",
    "history.csv",
    "history.png",
    "metrics.json",
    "model.keras",
    "reconstructions.png",
    "run.json",
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

    config, record = read_config(finished_run), read_record(finished_run)
    assert config["backend"] == keras.config.backend()
    assert config["network"]["type"] == "convolutional"
    assert config["seed"] == 0
    assert record["image_shape"] == [8, 8, 1]
    assert record["train_images"] == 96
    assert record["versions"]["keras"] == keras.__version__
    assert shlex.split(record["command"])[:2] == ["keras-vq", "train"]

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
    config, record = read_config(tmp_path / "new"), read_record(tmp_path / "new")
    assert config["network"]["type"] == "convolutional"
    assert config["data"]["dataset"] == str((tmp_path / "photos").resolve())
    assert (record["train_images"], record["test_images"]) == (36, 4)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {*FILES, "samples.png"}


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("args", "messages"),
    [
        (["--dataset", "mnits", "--data-dir", "."], ["Did you mean 'mnist'", "Received: 'mnits'"]),
        (["--dataset", "./nowhere"], ["must be an existing folder"]),
        (["--dataset", "sizes"], ["--image-size H,W", "8x8", "9x9"]),
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
    assert building.default_halvings(*size) == halvings
    completed = building.completed({}, (*size, 3), images=10)
    assert completed["network"]["type"] == "convolutional"
    assert len(completed["network"]["filters"]) == halvings


def built(values, image_shape=(8, 8, 1)):
    config = building.completed(configuration.merged({}, values), image_shape, images=10)
    # What is stored is read again as it was.
    stored = yaml.safe_dump(config, sort_keys=False)
    assert building.completed(parse_yaml(stored, "config"), image_shape, images=10) == config
    return building.build_model(config, image_shape, images=10)


@pytest.mark.backend_free
def test_the_names_of_classes_are_those_of_the_library():
    for names, base in (
        (configuration.QUANTIZERS, keras_vq.quantizers.Quantizer),
        (configuration.CODEBOOKS, keras_vq.codebooks.Codebook),
        (configuration.MODELS, keras_vq.models.ReconstructionModel),
    ):
        for name in names:
            assert issubclass(building.class_of(name, ""), base)
    for name in configuration.NETWORKS:
        assert building.class_of(name, "") is getattr(keras_vq.networks, name)


@pytest.mark.backend_free
@pytest.mark.parametrize("network", ["convolutional", "residual_convolutional", "dense"])
@pytest.mark.parametrize("kind", ["vqvae", "vae", "autoencoder", "vqgan"])
def test_every_model_takes_every_network(kind, network):
    model = built(
        {"model.type": kind, "network.type": network, "network.latent_dim": 3}, (8, 12, 3)
    )
    images = np.random.default_rng(0).random((2, 8, 12, 3), "float32")
    assert model.reconstruct(images).shape == images.shape
    is_coded = kind in ("vqvae", "vqgan")
    latents = model.encode_quantized(images) if is_coded else model.encode(images)
    assert latents.shape[-1] == 3
    # Models without a quantizer have one latent vector per image.
    assert latents.ndim == (2 if not is_coded else 3 if network == "dense" else 4)


RESIDUAL = 3 * [{"type": "vector_quantizer", "codebook_size": 8}]
QUANTIZERS = {
    "finite_scalar_quantizer": {"levels": [5, 3]},
    "lookup_free_quantizer": {},
    "residual_quantizer": {"quantizers": RESIDUAL, "dropout": 0.5},
    "product_quantizer": {"quantizers": RESIDUAL[:2]},
    "gumbel_softmax_quantizer": {"temperature": 0.5},
    "index_backpropagation_quantizer": {},
    "implicit_neural_quantizer": {"codebook_size": 16},
    "latent_quantizer": {"levels": [3, 3]},
    "multi_scale_quantizer": {"quantizer": RESIDUAL[0], "scales": [1, 2, 4]},
}


@pytest.mark.backend_free
@pytest.mark.parametrize("kind", QUANTIZERS)
def test_every_quantizer_can_be_configured(kind):
    values = {f"quantizer.{name}": value for name, value in QUANTIZERS[kind].items()}
    model = built({"quantizer.type": kind, "network.filters": [8], **values})
    for name, value in QUANTIZERS[kind].items():
        if name not in ("quantizer", "quantizers"):
            assert list(np.atleast_1d(getattr(model.quantizer, name))) == list(np.atleast_1d(value))
    assert model.encode(np.zeros((1, 8, 8, 1), "float32")).dtype == "int32"
    stages = getattr(model.quantizer, "quantizers", ())
    if len(stages) > 1:
        one, other = (np.asarray(stage.codebook.embeddings) for stage in stages[:2])
        assert not np.allclose(one, other)


def test_settings_reach_the_model():
    model = built(
        {
            "quantizer.codebook.type": "gradient_codebook",
            "quantizer.codebook.codebook_loss_weight": 0.5,
            "quantizer.codebook_size": 7,
            "quantizer.commitment_weight": 0.5,
            "quantizer.estimator": "rotation_trick",
            "optimizer.learning_rate": 0.01,
            "optimizer.beta_1": 0.5,
            "training.mixed_precision": "bfloat16",
            "training.loss": "mean_absolute_error",
            "network.kernel_size": 5,
        }
    )
    assert isinstance(model.quantizer.codebook, keras_vq.GradientCodebook)
    assert model.quantizer.codebook_size == 7
    assert model.quantizer.codebook.codebook_loss_weight == 0.5
    assert model.quantizer.commitment_weight == 0.5
    assert model.quantizer.estimator is keras_vq.estimators.rotation_trick
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    assert model.optimizer.beta_1 == 0.5
    assert model.loss == "mean_absolute_error"
    assert model.encoder.layers[0].compute_dtype == "bfloat16"
    assert model.encoder.layers[0].kernel_size == (5, 5)


def test_a_configuration_repeats_a_run_to_the_bit(run, finished_run, tmp_path):
    def terms(folder):
        return [[v for k, v in row.items() if k != "seconds"] for row in read_history(folder)]

    repeat = ("train", "--config", finished_run / "config.yaml", "--quiet", "--out")
    assert run(*repeat, "again").code == 0
    assert read_config(tmp_path / "again") == read_config(finished_run)
    assert terms(tmp_path / "again") == terms(finished_run)
    folders = (tmp_path / "again", finished_run)
    exact = [json.loads((each / "metrics.json").read_text()) for each in folders]
    assert exact[0]["loss"] == exact[1]["loss"]
    assert run(*repeat, "other", "--seed", 1).code == 0
    assert terms(tmp_path / "other") != terms(finished_run)


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("setting", "messages"),
    [
        ("quantizer.codebok_size=3", ["Did you mean 'codebook_size'?", "Number of code vectors"]),
        ("quantizer.codebook.dcay=0", ["ema_codebook has no setting 'dcay'", "'decay'"]),
        ("optimizer.type=admw", ["Did you mean 'adam_w'?"]),
        ("quantizer.type=residual_quantizer", ["residual_quantizer requires quantizers"]),
        ("quantizer.temperature=-1", ["quantizer: `temperature`", "Received: -1"]),
        ("training.loss=mena_squared_error", ["Did you mean 'mean_squared_error'?"]),
        ("model.type=vqvae2", ["vqvae2 requires the network hierarchical"]),
    ],
)
def test_wrong_settings_of_classes(run, tmp_path, setting, messages):
    options = ("--network", "dense") if "vqvae2" in setting else ()
    result = run("train", "--set", setting, *options, "--out", "new")
    assert result.code == 2
    for message in messages:
        assert message in result.err
    assert not (tmp_path / "new").exists()


@pytest.mark.backend_free
def test_a_dry_run_writes_nothing(run, finished_run, tmp_path):
    config = ("--config", finished_run / "config.yaml")
    result = run("train", *config, "--schedule", "cosine", "--dry-run", "--json")
    plan = json.loads(result.out)
    assert (
        plan["parameters"] == json.loads((finished_run / "metrics.json").read_text())["parameters"]
    )
    assert (plan["steps"], plan["bits_per_image"]) == (2 * 3, 4 * 4 * 3)
    assert plan["config"]["training"]["schedule"] == "cosine"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.backend_free
def test_training_ends_early_and_says_so(run, tmp_path):
    options = ("--learning-rate", 1e-30, "--codebook", "gradient_codebook", "--adapt", "none")
    train = ("train", *TINY_CODES, *options, "--early-stopping", 2, "--epochs", 9)
    assert run(*train, "--out", "new", "--quiet").code == 0
    assert len(read_history(tmp_path / "new")) == 3
    result = run("train", "--resume", "--out", "new")
    assert "is complete after 3 epochs" in result.err


@pytest.mark.backend_free
def test_a_run_can_start_from_another_model(run, finished_run, tmp_path):
    options = ("--init-from", finished_run, "--limit", 32, "--epochs", 1, "--learning-rate", 1e-30)
    assert run("train", *options, "--out", "new", "--quiet").code == 0
    one, other = (
        keras_vq.load_model(folder / "model.keras").encoder.get_weights()
        for folder in (finished_run, tmp_path / "new")
    )
    for before, after in zip(one, other, strict=True):
        np.testing.assert_allclose(before, after, atol=1e-6)
    assert read_config(tmp_path / "new")["training"]["init_from"] == str(finished_run.resolve())
    result = run("train", *options, "--filters", 8, "--out", "other")
    assert "has its own network" in result.err
    result = run("train", "--init-from", "vqvae_mnist", "--out", "other")
    assert "takes images of (28, 28, 1)" in result.err
