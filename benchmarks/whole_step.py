"""A whole training step of a VQ-VAE on each backend, and by hand, in times of TensorFlow's."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks import _processes

NETWORKS = {
    "keras.io's MNIST network, batch 128": ("mnist", 128),
    "Sonnet's CIFAR-10 network, batch 32": ("cifar10", 32),
}
# By name the Keras backend, and whether PyTorch goes through torch.compile.
CONTENDERS = {
    "TensorFlow": ("tensorflow", "auto"),
    "JAX": ("jax", "auto"),
    "PyTorch": ("torch", "auto"),
    "PyTorch, memory kept": ("torch", "auto"),
    "PyTorch, compiled": ("torch", True),
}
# Where the GNU C library's `malloc` gives freed memory back to the system, a step asks for the
# pages of each image anew. So told it keeps them.
_ENVIRONMENTS = {
    "PyTorch, memory kept": {
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "MALLOC_TRIM_THRESHOLD_": str(2**32),
    }
}
# Beside them the same network in plain PyTorch, with vector-quantize-pytorch.
BY_HAND = {"PyTorch by hand": False, "PyTorch by hand, compiled": True}
BASE = "TensorFlow"


def make(network: str, batch: int, jit_compile: Any) -> Callable[[], Any]:
    """One `train_on_batch` of random pixels, for a worker."""
    import keras
    import numpy as np

    model = build(network)
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=jit_compile)
    images = np.random.default_rng(0).random((batch, *model.image_shape)).astype("float32")
    # A tensor, as `fit` gives it: torch.compile can't follow what makes one of an array.
    return lambda: model.train_on_batch(keras.ops.convert_to_tensor(images))


def build(network: str) -> Any:
    """The VQ-VAE of keras.io's MNIST example, or that of Sonnet's CIFAR-10 notebook."""
    import keras_vq

    if network == "mnist":
        encoder, decoder = keras_vq.networks.convolutional((28, 28, 1))
        codebook = keras_vq.EMACodebook(128)
    else:
        encoder, decoder = keras_vq.networks.residual_convolutional((32, 32, 3))
        codebook = keras_vq.EMACodebook(512)
    return keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(codebook), decoder)


def rows(names: Sequence[str], rounds: int, threads: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measures; for each network and backend a row of the table."""
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
