"""Tests of `keras-vq evaluate`, `prior` and `generate`."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import keras_vq

TINY_PRIOR = ("--epochs", 1, "--set", "hidden_dim=8", "--set", "num_layers=1", "--quiet")


@pytest.fixture(scope="module")
def with_prior(finished_run, tmp_path_factory):
    """Returns a copy of the run folder, to which tests write a prior."""
    return shutil.copytree(finished_run, tmp_path_factory.mktemp("copy") / "tiny")


def test_a_model_a_prior_and_images(run, with_prior, tmp_path):
    result = run("evaluate", with_prior, "--json")
    assert result.code == 0, result.err
    stored = json.loads((with_prior / "metrics.json").read_text())
    for name, value in json.loads(result.out).items():
        assert value == pytest.approx(stored[name], rel=1e-4), name

    result = run("generate", with_prior)
    assert result.code == 2
    assert "Train one: keras-vq prior" in result.err

    options = ("--labels", "--learning-rate", 1e-2, *TINY_PRIOR)
    result = run("prior", with_prior, *options, "--json")
    assert result.code == 0, result.err
    figures = json.loads(result.out)
    prior = keras_vq.load_model(with_prior / "prior.keras", compile=False)
    assert (prior.num_classes, prior.hidden_dim) == (10, 8)
    model = keras_vq.load_model(with_prior / "model.keras", compile=False)
    test = keras_vq.data.load("digits", "test")
    nats = -prior.log_likelihood(model.encode(test.images), labels=test.labels)
    assert figures["val_bits_per_grid"] == pytest.approx(nats.mean() / np.log(2), rel=1e-3)

    options = ("-n", 3, "--label", 7, "--seed", 1, "--top-k", 4)
    result = run("generate", with_prior, *options, "--out", "images")
    assert result.code == 0, result.err
    expected = model.generate(3, prior, labels=7, seed=1, top_k=4)
    for number, image in enumerate(expected):
        with Image.open(tmp_path / "images" / f"{number:05}.png") as written:
            pixels = np.asarray(written, "int32")
        assert np.abs(pixels - np.clip(image[..., 0], 0, 1) * 255).max() <= 1
    assert run("generate", with_prior, *options, "--out", "images").code == 2
    assert run("generate", with_prior, "-n", 2).code == 0
    assert (tmp_path / "samples-of-tiny.png").exists()


@pytest.mark.backend_free
def test_latents_have_a_mixture_as_prior(run, tmp_path):
    assert run("generate", "vae_mnist", "-n", 2, "--out", "a.png").code == 0
    options = ("--dataset", "digits", "--set", "n_components=2", "--out", "prior.keras")
    assert run("prior", "vae_mnist", *options).code == 0
    prior = keras_vq.load_model(tmp_path / "prior.keras", compile=False)
    assert prior.means.shape == (2, 16)
    options = ("--prior", "prior.keras", "--seed", 0, "-n", 2)
    assert run("generate", "vae_mnist", *options, "--out", "b.png").code == 0


@pytest.mark.backend_free
def test_a_prior_of_two_scales(run, tmp_path):
    networks = keras_vq.networks.hierarchical(
        (8, 8, 1), filters=(4,), latent_dim=4, residual_blocks=1, residual_filters=4
    )
    quantizers = [keras_vq.VectorQuantizer(8) for _ in range(2)]
    keras_vq.VQVAE2(*networks, *quantizers).save(tmp_path / "two.keras")
    Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / "a.png")
    options = ("--images", "a.png", "--out", "prior.keras")
    assert run("prior", "two.keras", *options, *TINY_PRIOR).code == 0
    prior = keras_vq.load_model(tmp_path / "prior.keras", compile=False)
    assert isinstance(prior, keras_vq.priors.HierarchicalPrior)
