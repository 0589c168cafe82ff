"""Fuzz target of `.keras` files: archive, configuration and weights."""

import io
import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.targets.base import SilentlyWrong, Target


class Case(NamedTuple):
    """Mutated file, and its mutated part."""

    data: bytes
    kind: str


class ModelFileTarget(Target):
    """Files of small models, loaded by `keras_vq.load_model`."""

    cases = 100

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import keras

        import keras_vq
        from keras_vq.models import ModelFileError

        keras.utils.set_random_seed(0)
        encoder, decoder = keras_vq.networks.convolutional((4, 4, 1), filters=(2,), latent_dim=2)
        vqvae = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(4), decoder)
        dense = keras_vq.Autoencoder(
            *keras_vq.networks.dense((4, 4, 1), units=(3,), latent_dim=2),
        )
        self.load = keras_vq.load_model
        self.documented = (ModelFileError,)
        self.originals = []
        for model in (vqvae, dense):
            model(np.zeros((1, 4, 4, 1), "float32"))
            model.save(folder / "model.keras")
            with zipfile.ZipFile(folder / "model.keras") as archive:
                self.originals.append({name: archive.read(name) for name in archive.namelist()})
            self.load(folder / "model.keras").reconstruct(np.zeros((1, 4, 4, 1), "float32"))

    def make(self, rng: np.random.Generator) -> Case:
        """Returns a file with a mutated archive, JSON text, JSON value or weights file."""
        members = dict(self.originals[int(rng.integers(len(self.originals)))])
        kind = ("archive", "text", "value", "weights")[int(rng.integers(4))]
        if kind == "archive":
            return Case(mutations.mutate(_archive(members), rng), kind)
        name = "model.weights.h5" if kind == "weights" else "config.json"
        if kind == "value":
            config = json.loads(members[name])
            mutations.change_value(config, rng)
            members[name] = json.dumps(config).encode()
        else:
            members[name] = mutations.mutate(members[name], rng)
        return Case(_archive(members), kind)

    def kind(self, case: Case) -> str:
        """Returns the mutated part."""
        return case.kind

    def run(self, case: Case) -> str:
        """Loads the file."""
        path = self.folder / "case.keras"
        path.write_bytes(case.data)
        model = self.load(path)
        if not callable(model):
            raise SilentlyWrong(f"a {type(model).__name__}")
        return "loaded"


def _archive(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()
