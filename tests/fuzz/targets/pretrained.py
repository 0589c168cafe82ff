"""Fuzz target of sources of `from_pretrained`: configuration, index and safetensors files."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.targets.base import SilentlyWrong, Target

_CONFIG = "config.json"


class Case(NamedTuple):
    """Files of a folder by name, and the mutated part."""

    files: dict[str, bytes]
    kind: str


class PretrainedTarget(Target):
    """Folders of small models in the layouts of diffusers and taming-transformers."""

    cases = 200

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import keras
        import safetensors.numpy

        import keras_vq
        from keras_vq.pretrained import (
            ConversionError,
            _naming,
            _tensors,
            save_as_diffusers,
            taming,
        )

        keras.utils.set_random_seed(0)
        networks = keras_vq.networks
        pair = networks.latent_diffusion((4, 4, 1), (2, 4), 2, 1, groups=2)
        vqvae = keras_vq.VQVAE(pair.encoder, keras_vq.VectorQuantizer(4), pair.decoder)
        vae = keras_vq.VAE(
            *networks.latent_diffusion((4, 4, 1), (2,), 2, 1, (0,), groups=1, double_z=True),
            latent_dim=2,
        )
        tiny = keras_vq.Autoencoder(
            *networks.tiny_autoencoder((4, 4, 1), filters=2, blocks=(1, 1), decoder_blocks=(1, 1))
        )
        self.documented = (ConversionError,)
        self.load = keras_vq.from_pretrained
        self.originals = []
        for number, model in enumerate((vqvae, vae, tiny)):
            model.build((None, 4, 4, 1))
            self.originals.append(_files(save_as_diffusers(model, folder / str(number))))
        names = {
            **_naming.network_map(taming.TAMING, vqvae.encoder, vqvae.decoder),
            **_naming.codebook_map(vqvae.quantizer.codebook.embeddings),
        }
        tensors = safetensors.numpy.save(_tensors.extract(names))
        config = json.dumps({"norm_num_groups": 2}).encode()
        self.originals.append({_CONFIG: config, "model.safetensors": tensors})
        weight_map = dict.fromkeys(names, "model-00001-of-00001.safetensors")
        self.originals.append(
            {
                _CONFIG: config,
                "model.safetensors.index.json": json.dumps({"weight_map": weight_map}).encode(),
                "model-00001-of-00001.safetensors": tensors,
            }
        )
        for files in self.originals:
            self.run(Case(files, "valid"))

    def make(self, rng: np.random.Generator) -> Case:
        """Returns a folder with a mutated JSON value, JSON text, header or weights file."""
        files = dict(self.originals[int(rng.integers(len(self.originals)))])
        kind = ("value", "text", "header", "weights")[int(rng.integers(4))]
        is_json = kind in ("value", "text")
        names = sorted(name for name in files if name.endswith(".json") == is_json)
        name = names[int(rng.integers(len(names)))]
        if kind == "value":
            value = json.loads(files[name])
            mutations.change_value(value, rng)
            files[name] = json.dumps(value).encode()
        elif kind == "header":
            files[name] = _with_changed_header(files[name], rng)
        else:
            files[name] = mutations.mutate(files[name], rng)
        return Case(files, kind)

    def kind(self, case: Case) -> str:
        """Returns the mutated part."""
        return case.kind

    def run(self, case: Case) -> str:
        """Loads the folder."""
        path = self.folder / "case"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        for name, content in case.files.items():
            (path / name).write_bytes(content)
        model = self.load(path)
        if not all(np.isfinite(weight).all() for weight in model.get_weights()):
            raise SilentlyWrong("weights that are not finite")
        return "loaded"


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _with_changed_header(data: bytes, rng: np.random.Generator) -> bytes:
    """Returns a safetensors file with a changed entry, or a changed tensor name."""
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    if rng.random() < 0.5:
        name = sorted(header)[int(rng.integers(len(header)))]
        changed = mutations.mutate(name.encode(), rng).decode(errors="ignore")
        header[changed] = header.pop(name)
    else:
        mutations.change_value(header, rng)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]
