"""Encoding and decoding of the network of `VQModel`, relative to diffusers on PyTorch."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import _processes

SIDE = 256
FILTERS = (32, 64, 128, 128)
GROUPS = 32
CODES = 1024
BASE = "diffusers on PyTorch"
# By name: module that builds the contender, and Keras backend.
CONTENDERS = {
    BASE: ("contenders.diffusers_vq_model", None),
    **{f"keras_vq on {name}": ("pretrained", key) for name, key in _processes.BACKENDS.items()},
}
BATCHES = (1, 4)


def pixels(batch: int) -> np.ndarray:
    """Returns random images of shape `(batch, SIDE, SIDE, 3)`."""
    return np.random.default_rng(0).random((batch, SIDE, SIDE, 3)).astype("float32")


def build() -> Any:
    """Returns a model with random weights of the size of that of diffusers."""
    import keras_vq

    encoder, decoder = keras_vq.networks.latent_diffusion(
        (SIDE, SIDE, 3), FILTERS, blocks=1, groups=GROUPS
    )
    quantizer = keras_vq.VectorQuantizer(CODES, codebook="gradient_codebook")
    return keras_vq.VQVAE(encoder, quantizer, decoder)


def make(direction: str, batch: int) -> Callable[[], np.ndarray]:
    """Builds a function from images to codes, or from codes to images, for a worker."""
    model, images = build(), pixels(batch)
    if direction == "encode":
        return lambda: model.encode(images)
    codes = model.encode(images)
    return lambda: model.decode(codes)


def rows(rounds: int, threads: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields a row per direction, batch size and contender."""
    for direction in ("encode", "decode"):
        for batch in BATCHES:
            tasks = {
                name: ({"of": of, "direction": direction, "batch": batch}, backend)
                for name, (of, backend) in CONTENDERS.items()
            }
            found = _processes.race(tasks, rounds, threads, with_memory=True)
            for name, turns in found.items():
                figures = _processes.as_row(turns, found[BASE], "times diffusers")
                if isinstance(turns, _processes.Turns) and turns.memory is not None:
                    figures["memory, MiB"] = turns.memory.rise
                    figures["process, MiB"] = turns.memory.peak
                title = f"{direction}, batch {batch}: {name}"
                yield title, {"network": "VQModel", "contender": name, **figures}
