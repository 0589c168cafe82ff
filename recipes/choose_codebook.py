"""Choosing codebook size, embedding dimension and grid size: quality against bit rate on MNIST.

A grid search trains every combination of codebook size, embedding dimension and latent resolution
(set by the number of strided convolutions) for a few hundred steps. KerasTuner then searches for
the lowest error on held-out training images under 400 bits per image, with half as many trials:
`VQVAE` is a Keras model, so any tuner accepts it.

The picture shows error against bits per image; good choices are on the lower left edge.

Run: python -m recipes.choose_codebook [--steps 400] [--limit N] [--sizes 4 16 64 256]
"""

import argparse
import itertools
import math
import tempfile

import keras
import keras_tuner
import numpy as np
from matplotlib.figure import Figure

import keras_vq
from keras_vq import DeadCodeRestart, EMACodebook, ProjectedQuantizer, VectorQuantizer
from recipes._pictures import in_powers_of_two
from recipes.common import (
    RandomBatches,
    StepSeconds,
    Stopwatch,
    mean_squared_error,
    results_folder,
    save,
)

SEED = 0
BATCH_SIZE = 128
LEARNING_RATE = 1e-3
SIZES = (4, 16, 64, 256)
DIMENSIONS = (4, 16)
LATENT_DIM = 16
# Filters of the strided convolutions for each height and width of the code grid.
GRIDS = {14: (32,), 7: (32, 64)}
# The size of 7 x 7 codes of 8 bits, or of 14 x 14 codes of 2 bits.
MOST_BITS = 400


def build(size: int, dimension: int, grid: int) -> keras_vq.VQVAE:
    """Builds and compiles a model."""
    keras.utils.set_random_seed(SEED)
    encoder, decoder = keras_vq.networks.convolutional(
        (28, 28, 1), filters=GRIDS[grid], latent_dim=LATENT_DIM
    )
    codebook = EMACodebook(size, decay=0.95, restart=DeadCodeRestart())
    quantizer = VectorQuantizer(codebook=codebook)
    if dimension < LATENT_DIM:
        quantizer = ProjectedQuantizer(quantizer, dimension)
    model = keras_vq.VQVAE(encoder, quantizer, decoder)
    model.compile(keras.optimizers.Adam(LEARNING_RATE))
    return model


def bits(size: int, grid: int) -> float:
    """Returns the number of bits per image."""
    return grid * grid * math.log2(size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of codes")
    arguments = parser.parse_args()
    choices = list(itertools.product(GRIDS, arguments.sizes, DIMENSIONS))
    allowed = [
        (grid, size, dimension)
        for grid, size, dimension in choices
        if bits(size, grid) <= MOST_BITS
    ]
    if not allowed:
        parser.error(f"none of the --sizes makes {MOST_BITS} bits or less an image: add a smaller")
    stopwatch = Stopwatch()

    train = keras_vq.data.load("mnist", "train").take(arguments.limit).images
    test = keras_vq.data.load("mnist", "test").take(arguments.limit).images
    # The tuner must not see the test images.
    held_out, train = train[: len(train) // 10], train[len(train) // 10 :]
    batches = RandomBatches(train, arguments.steps, BATCH_SIZE, SEED)

    table: dict[str, dict[str, object]] = {}
    for grid, size, dimension in choices:
        table[f"{grid} x {grid}, {size} codes of {dimension}"] = row(
            build(size, dimension, grid), size, grid, batches, test
        )
    chosen = tuned(allowed, batches, held_out, trials=len(choices) // 2)
    name = f"KerasTuner, {MOST_BITS} bits at most: {chosen[2]} x {chosen[2]}, "
    name += f"{chosen[0]} codes of {chosen[1]}"
    table[name] = row(build(*chosen), chosen[0], chosen[2], batches, test)
    draw(table, results_folder() / "choose_codebook.png")
    save("choose_codebook", table, SEED, stopwatch)


def row(
    model: keras_vq.VQVAE, size: int, grid: int, batches: RandomBatches, test: np.ndarray
) -> dict[str, object]:
    """Trains a model and returns its quality and cost."""
    clock = StepSeconds()
    model.fit(batches, shuffle=False, callbacks=[clock], verbose=2)
    logs = model.evaluate(test, batch_size=BATCH_SIZE, return_dict=True, verbose=0)
    return {
        "bits per image": bits(size, grid),
        "test MSE": mean_squared_error(test, model.reconstruct(test)),
        "perplexity": logs["perplexity"],
        "codes used, %": 100 * logs["codebook_usage"],
        "step, ms": 1000 * float(np.median(clock.seconds[1:])),
    }


def tuned(
    allowed: list[tuple[int, int, int]],
    batches: RandomBatches,
    held_out: np.ndarray,
    trials: int,
) -> tuple[int, int, int]:
    """Returns the codebook size, embedding dimension and grid size that KerasTuner finds."""
    # A single choice among the allowed combinations, so that no trial exceeds the bit budget.
    names = [f"{size} {dimension} {grid}" for grid, size, dimension in allowed]

    def parts(choices: keras_tuner.HyperParameters) -> tuple[int, int, int]:
        size, dimension, grid = choices.Choice("codes, dimension, grid", names).split()
        return int(size), int(dimension), int(grid)

    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.RandomSearch(
            lambda choices: build(*parts(choices)),
            keras_tuner.Objective("val_reconstruction_loss", "min"),
            max_trials=trials,
            seed=SEED,
            directory=folder,
        )
        tuner.search(batches, shuffle=False, validation_data=(held_out, None), verbose=0)
        return parts(tuner.get_best_hyperparameters()[0])


def draw(table: dict[str, dict[str, object]], path: object) -> None:
    """Plots error against bits; markers show the embedding dimension, colors the grid size."""
    figure = Figure(figsize=(7, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    for grid, color in zip(GRIDS, ("tab:blue", "tab:orange"), strict=True):
        for dimension, marker in zip(DIMENSIONS, "os", strict=True):
            rows = [
                (figures["bits per image"], figures["test MSE"])
                for name, figures in table.items()
                if name.startswith(f"{grid} x") and name.endswith(f" of {dimension}")
            ]
            label = f"{grid} x {grid} codes of {dimension} numbers"
            style = {"color": color, "marker": marker, "label": label, "alpha": 0.8}
            axes.plot(*zip(*rows, strict=True), **style)
    (found,) = [figures for name, figures in table.items() if name.startswith("KerasTuner")]
    axes.plot(
        found["bits per image"],
        found["test MSE"],
        marker="*",
        markersize=14,
        color="black",
        linestyle="",
        label=f"KerasTuner, {MOST_BITS} bits at most",
    )
    in_powers_of_two(axes)
    axes.set(yscale="log", xlabel="bits per image", ylabel="test MSE")
    axes.set_title("VQ-VAE on MNIST: more codes, finer grids", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.savefig(path, facecolor="white")


if __name__ == "__main__":
    main()
