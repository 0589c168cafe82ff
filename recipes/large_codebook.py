"""Memory of a training step with 65,536 code vectors of 64 dimensions, on each backend.

In a separate process, a compiled step quantizes 16,384 vectors. The full distance matrix would take
4 GiB. The recipe measures the rise of the resident memory during a step, after a first step that
compiles, and adds the size of the inputs and the weights.

The lower bound of any implementation, besides codebook, inputs and one block of scores: quantized
vectors, gradient of the inputs, and gradient of the codebook or its updated sums.

Run: python -m recipes.large_codebook [--codes 65536] [--vectors 16384] [--backends jax ...]
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np

from benchmarks import _memory

SEED = 0
BACKENDS = ("tensorflow", "jax", "torch")
MIB = 2**20


def measure(kind: str, codes: int, vectors: int, dim: int) -> dict[str, float]:
    """Trains three steps and returns their memory in MiB."""
    import keras

    import keras_vq

    keras.utils.set_random_seed(SEED)
    by_gradient = kind == "gradient"
    codebook = keras_vq.GradientCodebook(codes) if by_gradient else keras_vq.EMACodebook(codes)
    inputs = keras.Input((dim,))
    # A trainable scale, so that the optimizer has a variable to update.
    scaled = keras.layers.EinsumDense("bd,d->bd", (dim,), name="scale")(inputs)
    quantized, _ = keras_vq.VectorQuantizer(codebook=codebook)(scaled)
    model = keras.Model(inputs, quantized)
    model.compile(keras.optimizers.SGD(1e-3), loss="mse")
    x = np.random.default_rng(SEED).normal(size=(vectors, dim)).astype("float32")
    rises = [_memory.rise(lambda: model.train_on_batch(x, x)) for _ in range(4)]
    weights = sum(4 * int(np.prod(weight.shape)) for weight in model.weights)
    return {"rise": float(np.median(rises[1:])), "weights": weights / MIB, "inputs": x.nbytes / MIB}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codes", type=int, default=65_536)
    parser.add_argument("--vectors", type=int, default=16_384)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--measure", choices=("gradient", "ema"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = (arguments.codes, arguments.vectors, arguments.dim)
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, *sizes)))
        return

    from keras_vq._search import SCORES_PER_BLOCK
    from recipes.common import Stopwatch, save

    stopwatch = Stopwatch()
    codebook = arguments.codes * arguments.dim * 4 / MIB
    inputs = arguments.vectors * arguments.dim * 4 / MIB
    least = codebook + inputs + SCORES_PER_BLOCK * 4 / MIB
    needed = least + codebook + 2 * inputs
    figures: dict[str, object] = {
        "codebook, MiB": codebook,
        "inputs, MiB": inputs,
        "codebook + inputs + one block, MiB": least,
        "the same, output, gradients, MiB": needed,
        "all distances, MiB": arguments.codes * arguments.vectors * 4 / MIB,
    }
    for backend in arguments.backends:
        for kind in ("gradient", "ema"):
            print(f"{kind} codebook on {backend} ...", flush=True)
            flags = [f"--{name}={getattr(arguments, name)}" for name in ("codes", "vectors", "dim")]
            output = subprocess.run(
                [sys.executable, "-m", "recipes.large_codebook", "--measure", kind, *flags],
                env={**os.environ, "KERAS_BACKEND": backend, **_memory.EXACT},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
            found = json.loads(output.splitlines()[-1])
            peak = sum(found.values())
            figures[f"{backend}, {kind}: weights, MiB"] = found["weights"]
            figures[f"{backend}, {kind}: rise during a step, MiB"] = found["rise"]
            figures[f"{backend}, {kind}: peak over codebook + inputs + block"] = peak / least
            figures[f"{backend}, {kind}: peak over what a step needs"] = peak / needed
    save("large_codebook", figures, SEED, stopwatch)


if __name__ == "__main__":
    main()
