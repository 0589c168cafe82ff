"""Training step of a VQ-VAE on each backend and in plain PyTorch, relative to TensorFlow."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks import _processes

NETWORKS = {
    "keras.io's MNIST network, batch 128": ("mnist", 128),
    "Sonnet's CIFAR-10 network, batch 32": ("cifar10", 32),
}
# By name: Keras backend, and whether PyTorch uses torch.compile.
CONTENDERS = {
    "TensorFlow": ("tensorflow", "auto"),
    "JAX": ("jax", "auto"),
    "PyTorch": ("torch", "auto"),
    "PyTorch, memory kept": ("torch", "auto"),
    "PyTorch, compiled": ("torch", True),
}
# By default the GNU C library's `malloc` returns freed memory to the system, and each step requests
# the pages again. These variables make it keep the memory.
_ENVIRONMENTS = {
    "PyTorch, memory kept": {
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "MALLOC_TRIM_THRESHOLD_": str(2**32),
    }
}
# The same network in plain PyTorch with vector-quantize-pytorch.
BY_HAND = {"PyTorch by hand": False, "PyTorch by hand, compiled": True}
BASE = "TensorFlow"


def make(network: str, batch: int, jit_compile: Any) -> Callable[[], Any]:
    """Builds a `train_on_batch` call on random pixels, for a worker."""
    import keras
    import numpy as np

    model = build(network)
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=jit_compile)
    images = np.random.default_rng(0).random((batch, *model.input_shape[1:])).astype("float32")
    # A tensor as in `fit`: torch.compile cannot trace the conversion of a NumPy array.
    return lambda: model.train_on_batch(keras.ops.convert_to_tensor(images))


def build(network: str) -> Any:
    """Builds the VQ-VAE of the keras.io MNIST example or of the Sonnet CIFAR-10 notebook."""
    import keras_vq

    if network == "mnist":
        encoder, decoder = keras_vq.networks.convolutional((28, 28, 1))
        codebook = keras_vq.EMACodebook(128)
    else:
        encoder, decoder = keras_vq.networks.residual_convolutional((32, 32, 3))
        codebook = keras_vq.EMACodebook(512)
    return keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(codebook=codebook), decoder)


def rows(names: Sequence[str], rounds: int, threads: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields a row per network and backend."""
    for title, (network, batch) in NETWORKS.items():
        tasks = {}
        for name in names:
            backend, jit_compile = CONTENDERS[name]
            task = {"of": "whole_step", "network": network, "batch": batch}
            tasks[name] = ({**task, "jit_compile": jit_compile}, backend)
        for name, compiled in BY_HAND.items():
            task = {"of": "contenders.vqvae_by_hand", "network": network, "batch": batch}
            tasks[name] = ({**task, "compiled": compiled}, None)
        found = _processes.race(tasks, rounds, threads, environments=_ENVIRONMENTS)
        for name, turns in found.items():
            figures = _processes.as_row(turns, found.get(BASE), "times TensorFlow")
            if "ms" in figures:
                figures["images/s"] = 1000 * batch / figures["ms"]
            yield f"{title}: {name}", {"network": title, "backend": name, **figures}
