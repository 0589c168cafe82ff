"""A file that one backend saved gives the same codes and images under the others."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_vq
from tests.models.cases import MODEL_CASES

IDS = ("autoencoder", "vae", "vqvae_ema")

LOAD = """
import sys
import numpy as np, keras_vq
folder, backend, *ids = sys.argv[1:]
images = np.load(folder + "/images.npy")
for id in ids:
    model = keras_vq.load_model(f"{folder}/{id}.keras")
    found = {"images": model.reconstruct(images)}
    if id.startswith("vqvae"):
        found["codes"] = model.encode_to_codes(images)
    if id == "vae":
        found["generated"] = model.generate(8, seed=1)
    np.savez(f"{folder}/{id}_{backend}.npz", **found)
"""


# Which backend saves is no matter: one process in three need run this.
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="runs under torch")
def test_files_cross_backends(images, tmp_path):
    others = [name for name in ("tensorflow", "jax") if importlib.util.find_spec(name)]
    if not others:
        pytest.skip("no other backend is installed")
    models = {}
    for case in (case for case in MODEL_CASES if case.id in IDS):
        models[case.id] = case.build()
        models[case.id].compile("adam")
        # A step, so that codes are no longer where they were created.
        models[case.id].fit(images[:64], batch_size=64, verbose=0)
        models[case.id].save(tmp_path / f"{case.id}.keras")
    np.save(tmp_path / "images.npy", images)

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
            np.testing.assert_allclose(found["images"], model.reconstruct(images), atol=1e-5)
            if isinstance(model, keras_vq.VQVAE):
                np.testing.assert_array_equal(found["codes"], model.encode_to_codes(images))
            if isinstance(model, keras_vq.VAE):
                np.testing.assert_allclose(found["generated"], model.generate(8, seed=1), atol=1e-5)
