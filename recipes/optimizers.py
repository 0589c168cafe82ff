"""SGD, Adam, AdamW, Lion and Muon on a VQ-VAE on MNIST: loss curves in one picture.

Same network as in `vqvae_mnist`, with equal initial weights, batches and number of steps. Each
optimizer is plotted with the best of three learning rates, a factor of 3 apart, by the mean loss
over the last tenth of the steps. The table lists all runs.

Run: python -m recipes.optimizers [--steps 400] [--limit N]
"""

import argparse
import contextlib
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from matplotlib.figure import Figure

import keras_vq
from keras_vq import DeadCodeRestart, EMACodebook, VectorQuantizer
from recipes.common import RandomBatches, Stopwatch, mean_squared_error, results_folder, save

SEED = 0
BATCH_SIZE = 128
FACTORS = (1 / 3, 1.0, 3.0)


class MuonOfKernels(keras.optimizers.Muon):
    """Muon optimizer that flattens convolution kernels to matrices.

    Keras's `Muon` applies AdamW to all weights that are not matrices, and this network consists of
    convolutions only. Source: Jordan et al., "Muon: An optimizer for hidden layers in neural
    networks", 2024, which flattens kernels in the same way.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return len(variable.shape) not in (2, 4)

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        matrix = ops.reshape(x, (-1, x.shape[-1]))
        return ops.reshape(super().zeropower_via_newtonschulz5(matrix, steps), x.shape)

    def lr_adjust(self, x: Any) -> Any:
        rows = math.prod(x.shape[:-1])
        return x * max(rows, x.shape[-1]) ** 0.5 * self.rms_rate


# Middle one of the three learning rates, and the optimizer for a rate.
OPTIMIZERS: dict[str, tuple[float, Callable[[float], keras.optimizers.Optimizer]]] = {
    "SGD, momentum 0.9": (0.03, lambda rate: keras.optimizers.SGD(rate, 0.9, nesterov=True)),
    "Adam": (1e-3, keras.optimizers.Adam),
    "AdamW": (1e-3, keras.optimizers.AdamW),
    "Lion": (3e-4, keras.optimizers.Lion),
    "Muon": (1e-3, lambda rate: MuonOfKernels(rate)),
}


class Losses(keras.callbacks.Callback):
    """Callback that records the loss of each step; logs contain the running mean of the epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.total = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        total = float(logs["loss"]) * (batch + 1)
        if np.isfinite(total):
            self.losses.append(total - self.total)
        self.total = total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    train = keras_vq.data.load("mnist", "train").take(arguments.limit).images
    test = keras_vq.data.load("mnist", "test").take(arguments.limit).images
    table: dict[str, dict[str, object]] = {}
    best: dict[str, tuple[str, list[float]]] = {}
    for name, (middle, build) in OPTIMIZERS.items():
        for factor in FACTORS:
            rate = float(f"{middle * factor:.2g}")
            model, losses = run(build(rate), train, arguments.steps)
            row: dict[str, object] = {"steps": len(losses)}
            table[f"{name}, {rate:g}"] = row
            if len(losses) < arguments.steps:
                continue  # The run diverged.
            row["loss, last tenth of the steps"] = at_end(losses)
            row["test MSE"] = mean_squared_error(test, model.reconstruct(test))
            row["codes used"] = len(np.unique(model.encode(test)))
            if name not in best or at_end(losses) < at_end(best[name][1]):
                best[name] = (f"{name}, learning rate {rate:g}", losses)
    draw(dict(best.values()), results_folder() / "optimizers.png")
    save("optimizers", table, SEED, stopwatch)


def at_end(losses: list[float]) -> float:
    """Returns the mean loss over the last tenth of the steps."""
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))


def run(
    optimizer: keras.optimizers.Optimizer, train: np.ndarray, steps: int
) -> tuple[keras_vq.VQVAE, list[float]]:
    """Trains a model; returns it and the loss of each step until the first non-finite one."""
    keras.utils.set_random_seed(SEED)
    encoder, decoder = keras_vq.networks.convolutional((28, 28, 1), filters=(32, 64), latent_dim=16)
    codebook = EMACodebook(128, decay=0.95, restart=DeadCodeRestart())
    variance = float(train.var(dtype="float64"))
    model = keras_vq.VQVAE(
        encoder, VectorQuantizer(codebook=codebook), decoder, data_variance=variance
    )
    model.compile(optimizer)
    log = Losses()
    batches = RandomBatches(train, steps, BATCH_SIZE, SEED)
    with contextlib.suppress(keras_vq.models.NonFiniteLossError):
        model.fit(batches, shuffle=False, callbacks=[log], verbose=2)
    return model, log.losses


def draw(curves: dict[str, list[float]], path: object) -> None:
    """Plots losses by step, smoothed over 20 steps, on a logarithmic axis."""
    figure = Figure(figsize=(7.5, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for name, losses in curves.items():
        width = min(20, len(losses))
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        axes.plot(np.arange(width, len(losses) + 1), smooth, label=name, linewidth=1.2)
    axes.set_yscale("log")
    axes.set_xlabel(f"step of {BATCH_SIZE} images")
    axes.set_ylabel("loss, mean of 20 steps")
    axes.set_title("VQ-VAE on MNIST: one start, the same batches", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.savefig(path, facecolor="white")


if __name__ == "__main__":
    main()
