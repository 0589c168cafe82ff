"""Codebook collapse and its remedies: usage of 256 codes on the digits of scikit-learn.

A codebook of 256 codes is too large for this network and 23 steps per epoch, unless dead codes are
restarted. Each setting changes one part of another. The picture shows the perplexity after each
epoch.

Run: python -m recipes.codebook_collapse [--epochs 30] [--limit N]
"""

import argparse
import warnings

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_vq
from keras_vq import DeadCodeRestart, EMACodebook, GradientCodebook, VectorQuantizer
from recipes.common import Stopwatch, mean_squared_error, results_folder, save

SEED = 0
CODES = 256
BATCH_SIZE = 64
LATENT_DIM = 16


def by_gradient(**options: object) -> VectorQuantizer:
    """Returns a quantizer with a codebook trained by gradient."""
    return VectorQuantizer(codebook=GradientCodebook(CODES, **options))


def by_average(size: int = CODES, **options: object) -> VectorQuantizer:
    """Returns a quantizer with a codebook updated by exponential moving averages."""
    return VectorQuantizer(codebook=EMACodebook(size, **options))


# The quantizer of each setting, the learning rate, and whether k-means initializes the codebook.
SETTINGS = {
    "by gradient, learning rate 0.01": (by_gradient, 1e-2, False),
    "by gradient": (by_gradient, 1e-3, False),
    "by gradient, k-means": (by_gradient, 1e-3, True),
    "by gradient, restarts": (lambda: by_gradient(restart=DeadCodeRestart()), 1e-3, False),
    "EMA": (by_average, 1e-3, False),
    "EMA, k-means": (by_average, 1e-3, True),
    "EMA, 64 codes": (lambda: by_average(64), 1e-3, False),
    "EMA, restarts (the default)": (
        lambda: by_average(restart=DeadCodeRestart()),
        1e-3,
        False,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--limit", type=int, default=1437, help="first N images of each split")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()
    train = keras_vq.data.load("digits", "train").take(arguments.limit).images
    test = keras_vq.data.load("digits", "test").take(arguments.limit).images

    table: dict[str, dict[str, object]] = {}
    perplexities = {}
    for name, (quantizer, learning_rate, initialize) in SETTINGS.items():
        keras.utils.set_random_seed(SEED)
        encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=LATENT_DIM)
        model = keras_vq.VQVAE(encoder, quantizer(), decoder)
        model.compile(keras.optimizers.Adam(learning_rate))
        if initialize:
            model.adapt(train)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", keras_vq.callbacks.CollapseWarning)
            monitor = keras_vq.callbacks.CodebookMonitor(train)
            history = model.fit(
                train,
                batch_size=BATCH_SIZE,
                epochs=arguments.epochs,
                callbacks=[monitor],
                verbose=0,
            ).history
        perplexities[name] = history["codes_perplexity"]
        table[name] = {
            "test MSE": mean_squared_error(test, model.reconstruct(test)),
            "perplexity": history["codes_perplexity"][-1],
            "codes in use, %": 100 * history["codes_in_use"][-1],
            "dead codes": int(history["codes_dead"][-1]),
        }
    draw(perplexities, results_folder() / "codebook_collapse.png")
    save("codebook_collapse", table, SEED, stopwatch)


def draw(perplexities: dict[str, list[float]], path: object) -> None:
    """Plots the perplexity of each setting after each epoch."""
    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    for name, values in perplexities.items():
        axes.plot(np.arange(1, len(values) + 1), values, label=name)
    axes.set(xlabel="epoch", ylabel="perplexity of the codes", yscale="log")
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    figure.savefig(path, facecolor="white")


if __name__ == "__main__":
    main()
