"""The same 200 steps from the same weights and batches on TensorFlow, JAX and PyTorch.

Trains a VQ-VAE on the digits data set of scikit-learn (8 x 8 pixels, no download) once per backend,
each in its own process, and compares the loss curves.

Run: python -m recipes.backends_agree [--steps 200]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SEED = 0
BATCH_SIZE = 64
BACKENDS = ("tensorflow", "jax", "torch")


def train(steps: int, weights: Path) -> list[float]:
    """Trains from the weights in a file, which the first backend writes, and returns all losses."""
    import keras

    import keras_vq

    keras.utils.set_random_seed(SEED)
    images = keras_vq.data.load("digits", "train").images
    encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(32, 64), latent_dim=8)
    # No restarts: each backend has its own random number generator.
    quantizer = keras_vq.VectorQuantizer(codebook=keras_vq.EMACodebook(64))
    model = keras_vq.VQVAE(encoder, quantizer, decoder, data_variance=float(images.var()))
    model.compile(keras.optimizers.Adam(1e-3))
    if not weights.exists():
        quantizer.adapt(model.encoder.predict(images, verbose=0), start="first")
        model.save_weights(weights)
    model.load_weights(weights)

    order = np.random.default_rng(SEED)
    losses = []
    for _ in range(steps):
        batch = images[order.choice(len(images), BATCH_SIZE, replace=False)]
        losses.append(float(model.train_on_batch(batch, return_dict=True)["loss"]))
        model.reset_metrics()
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--train-with", metavar="WEIGHTS", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train_with:
        print(json.dumps(train(arguments.steps, arguments.train_with)))
        return

    from recipes.common import Stopwatch, results_folder, save

    stopwatch = Stopwatch()
    curves = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "start.weights.h5")
        command = [sys.executable, "-m", "recipes.backends_agree", "--train-with", weights]
        for backend in BACKENDS:
            print(f"{arguments.steps} steps on {backend} ...", flush=True)
            output = subprocess.run(
                [*command, "--steps", str(arguments.steps)],
                env={**os.environ, "KERAS_BACKEND": backend},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
            curves[backend] = np.array(json.loads(output.splitlines()[-1]))

    reference = curves["tensorflow"]
    figures: dict[str, object] = {"first loss": reference[0], "last loss": reference[-1]}
    for backend in BACKENDS[1:]:
        difference = np.abs(curves[backend] / reference - 1)
        figures[f"largest difference of a step, {backend}"] = float(difference.max())
        figures[f"median difference of a step, {backend}"] = float(np.median(difference))
    plot(curves, results_folder() / "backends_agree.png")
    save("backends_agree", figures, SEED, stopwatch)


def plot(curves: dict[str, np.ndarray], path: Path) -> None:
    """Plots the loss curves and, below, their difference from the TensorFlow curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True)
    for backend, style in zip(BACKENDS, ("-", "--", ":"), strict=True):
        top.plot(curves[backend], style, label=backend)
    for backend in BACKENDS[1:]:
        # Points, because a logarithmic axis cannot show a difference of zero.
        difference = np.abs(curves[backend] / curves["tensorflow"] - 1)
        bottom.plot(difference, ".", label=backend, alpha=0.7)
    top.set(title="Loss from the same weights and batches", ylabel="loss", yscale="log")
    bottom.set(xlabel="step", ylabel="relative difference\nfrom tensorflow", yscale="log")
    for axes in (top, bottom):
        axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
