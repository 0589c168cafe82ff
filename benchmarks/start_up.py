"""Start-up time of `--help`, of the import and of the first training step."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import _processes
from keras_vq_cli.session import BACKENDS

_FIRST_STEP = """
import numpy as np, keras, keras_vq
encoder, decoder = keras_vq.networks.convolutional((28, 28, 1))
model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(128), decoder)
model.compile("adam")
model.train_on_batch(np.zeros((32, 28, 28, 1), "float32"))
"""


def rows(rounds: int, threads: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields a row per program."""
    programs = {"keras-vq --help": (None, ["-m", "keras_vq_cli", "--help"])}
    for backend in BACKENDS:
        programs[f"import keras, {backend}"] = (backend, ["-c", "import keras"])
        programs[f"import keras_vq, {backend}"] = (backend, ["-c", "import keras_vq"])
        programs[f"a first step, {backend}"] = (backend, ["-c", _FIRST_STEP])
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, (backend, arguments) in programs.items():
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments],
                env=_processes.environment(backend, threads),
                check=True,
                capture_output=True,
            )
            seconds[name].append(time.perf_counter() - began)
    for name, times in seconds.items():
        yield name, {"s": float(np.median(times)), "fastest, s": min(times)}
