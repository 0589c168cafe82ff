"""Tests that saved models give the same codes and images on all backends."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_vq
from tests.models.cases import MODEL_CASES
from tests.needed import needed
from tests.pretrained.cases import LDM

IDS = ("autoencoder", "vae", "vqvae_ema", "vqvae2", "vqgan")

LOAD = """
import sys
import keras, numpy as np, keras_vq
folder, backend, *ids = sys.argv[1:]
for id in ids:
    images = np.load(f"{folder}/{id}.npy")
    model = keras_vq.load_model(f"{folder}/{id}.keras")
    found = {"images": model.reconstruct(images)}
    if id.startswith("vqvae"):
        found["codes"] = keras.tree.flatten(model.encode(images))[-1]
    if id == "vae":
        found["generated"] = model.generate(8, seed=1)
    if id == "vqgan":
        # One step with two optimizers, and with gradients within the step. Plain descent: Adam
        # makes as much of a gradient of rounding errors as of any other.
        model.compile("sgd")
        logs = model.train_on_batch(images[:32], return_dict=True)
        found.update({f"logs/{name}": value for name, value in logs.items()})
        found["weights"] = np.concatenate(
            [keras.ops.convert_to_numpy(weight).ravel() for weight in model.trainable_weights]
        )
    np.savez(f"{folder}/{id}_{backend}.npz", **found)
"""


def _converted(folder):
    """Returns a model that is converted from a `VQModel` of diffusers with random weights."""
    from tests.pretrained.references import live

    theirs = live("VQModel", **LDM, in_channels=1, out_channels=1, num_vq_embeddings=64)
    theirs.save_pretrained(folder / "source")
    return keras_vq.from_pretrained(folder / "source")


def _converted_codecs(folder):
    """Returns (model, sounds) by name, converted from codecs of transformers."""
    from tests.pretrained.cases import SOUND_CASES
    from tests.pretrained.sounds import live, speech

    found = {}
    for name in ("encodec_48khz", "dac_24khz"):
        kind, config, samples = SOUND_CASES[name]
        sounds = speech(samples, config.get("audio_channels", 1))
        live(kind, sounds, **config).save_pretrained(folder / name)
        found[f"vqvae_{name}"] = keras_vq.from_pretrained(folder / name), sounds
    return found


# One saving backend is enough.
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="runs under torch")
def test_files_cross_backends(images, tmp_path):
    others = ("tensorflow", "jax")
    needed(*others)
    models = {}
    for case in (case for case in MODEL_CASES if case.id in IDS):
        models[case.id] = case.build()
        if case.id == "vqgan":
            models[case.id].discriminator_start = 0
        models[case.id].compile("adam")
        # One step, so that code vectors differ from their initial values.
        models[case.id].fit(images[:64], batch_size=64, verbose=0)
        models[case.id].save(tmp_path / f"{case.id}.keras")
    models["vqvae_converted"] = _converted(tmp_path)
    models["vqvae_converted"].save(tmp_path / "vqvae_converted.keras")
    inputs = dict.fromkeys(models, images)
    for id, (codec, sounds) in _converted_codecs(tmp_path).items():
        models[id], inputs[id] = codec, sounds
        codec.save(tmp_path / f"{id}.keras")
    for id, own in inputs.items():
        np.save(tmp_path / f"{id}.npy", own)

    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LOAD, str(tmp_path), backend, *models],
            env={**os.environ, "KERAS_BACKEND": backend},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for backend in others
    ]
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    for id, model in models.items():
        for backend in others:
            found = np.load(tmp_path / f"{id}_{backend}.npz")
            made = model.reconstruct(inputs[id])
            np.testing.assert_allclose(
                found["images"], made, atol=1e-5 * max(1, np.abs(made).max())
            )
            if id.startswith("vqvae"):
                codes = keras.tree.flatten(model.encode(inputs[id]))[-1]
                assert len(np.unique(codes)) > 3
                np.testing.assert_array_equal(found["codes"], codes)
            if isinstance(model, keras_vq.VAE):
                np.testing.assert_allclose(found["generated"], model.generate(8, seed=1), atol=1e-5)
    models["vqgan"].compile("sgd")
    logs = models["vqgan"].train_on_batch(images[:32], return_dict=True)
    weights = [keras.ops.convert_to_numpy(w).ravel() for w in models["vqgan"].trainable_weights]
    for backend in others:
        found = np.load(tmp_path / f"vqgan_{backend}.npz")
        for name, value in logs.items():
            assert found[f"logs/{name}"] == pytest.approx(value, rel=1e-3), name
        np.testing.assert_allclose(found["weights"], np.concatenate(weights), atol=1e-4)
