"""Image restoration shared by `denoise`, `super_resolution` and `inpaint`.

`fit(damaged, clean)` trains a model to restore images. If a classical method gives a good first
estimate, the model predicts the residual of that estimate instead of the whole image. The
bottleneck grid has half the height and width of the clean image. The VQ-VAE stores two residual
codes of 9 bits per position; the autoencoder baseline stores the 32 unquantized latents.
"""

import argparse
import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

import keras_vq
from keras_vq import DeadCodeRestart, EMACodebook, ResidualQuantizer, VectorQuantizer
from keras_vq.plots import plot_rows
from recipes.common import (
    Stopwatch,
    add_datasets,
    kept_models,
    likeness,
    name_of_run,
    results_folder,
    save,
    trained,
    warmed_up_and_falling,
)

SEED = 0
BATCH_SIZE = 64
LEARNING_RATE = 1e-3
LATENT_DIM = 32
CODES = 512
STAGES = 2
# The classical methods process one image at a time.
TESTS = 2000
SHOWN = 10

Images = np.ndarray
"""Float32, `(n, height, width, channels)`, in [0, 1]."""


class Damaged(NamedTuple):
    """Damaged images and their mask `(n, height, width, 1)`: True where damaged, None for all."""

    images: Images
    holes: np.ndarray | None = None


class Task(NamedTuple):
    """Restoration task: the damage and the classical methods that undo it."""

    name: str
    # Damages clean images; takes a random generator.
    damage: Callable[[Images, np.random.Generator], Damaged]
    # Returns classical methods by name; their settings are tuned on damaged and clean training
    # images.
    classical: Callable[[Damaged, Images], Mapping[str, Callable[[Damaged], Images]]]
    title: str
    # First estimate that the model output is added to, if the model predicts a residual.
    first_guess: Callable[[Damaged], Images] | None = None


def run(task: Task, description: str) -> None:
    """Runs a task: parses arguments, trains, writes the table and the pictures.

    Args:
        task: The task.
        description: String. First line of the help text.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    add_datasets(parser)
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    table: dict[str, dict[str, object]] = {}
    for dataset in arguments.datasets:
        train = keras_vq.data.load(dataset, "train").take(arguments.limit).images
        test = keras_vq.data.load(dataset, "test").take(min(arguments.limit, TESTS)).images
        damaged = task.damage(train, np.random.default_rng(SEED))
        damaged_test = task.damage(test, np.random.default_rng(SEED + 1))
        guess, guess_test = first_guess(task, damaged), first_guess(task, damaged_test)
        given, given_test = seen(damaged, guess), seen(damaged_test, guess_test)
        restored = {
            name: guess_test if undo is task.first_guess else undo(damaged_test)
            for name, undo in task.classical(damaged, train).items()
        }
        details: dict[str, dict[str, object]] = {}
        for name, build in {"autoencoder": autoencoder, "VQ-VAE": vqvae}.items():
            file = f"{dataset}_{name.lower()}_{arguments.epochs}.keras"
            path = kept_models(task.name, arguments.limit) / file
            model, seconds = restorer(
                path, build, given, train - guess, damaged.holes, arguments.epochs
            )
            made = guess_test + model.reconstruct(given_test)
            restored[name] = put_into_holes(made, damaged_test)
            details[name] = {"parameters": model.count_params(), "training, s": seconds}
            if isinstance(model, keras_vq.VQVAE):
                codes = model.encode(given_test[:1]).size
                details[name]["bits per image"] = codes * math.log2(CODES)
        for name, images in restored.items():
            table[f"{dataset}: {name}"] = {**likeness(test, images), **details.get(name, {})}
        rows = {"damaged": damaged_test.images[:SHOWN]}
        rows |= {name: images[:SHOWN] for name, images in restored.items()}
        rows["clean"] = test[:SHOWN]
        path = results_folder() / f"{task.name}_{dataset}.png"
        plot_rows(rows, path, title=f"{dataset}: {task.title}")
    save(name_of_run(task.name, arguments.datasets), table, SEED, stopwatch)


def first_guess(task: Task, damaged: Damaged) -> Images:
    """Returns the estimate that model outputs are added to; zeros without a first estimate."""
    return task.first_guess(damaged) if task.first_guess else np.zeros(1, "float32")


def seen(damaged: Damaged, guess: Images) -> Images:
    """Returns model inputs: damaged images, or estimates of holes with the mask of the holes."""
    if damaged.holes is None:
        return damaged.images
    return np.concatenate([guess, damaged.holes.astype("float32")], axis=-1)


def restorer(
    path: Path,
    build: Callable[..., keras.Model],
    given: Images,
    wanted: Images,
    holes: np.ndarray | None,
    epochs: int,
) -> tuple[keras.Model, float]:
    """Loads or trains a restoration model; returns it and its training time in seconds."""

    def new_model() -> keras.Model:
        return build(given.shape[1:], wanted.shape[1:])

    # Pixels outside holes are known, so they do not enter the loss.
    weights = None if holes is None else holes[..., 0].astype("float32")

    def fit(model: keras.Model, **options: object) -> None:
        options = {"batch_size": BATCH_SIZE, "epochs": epochs, **options}
        model.fit(given, wanted, sample_weight=weights, **options)

    steps = epochs * math.ceil(len(wanted) / BATCH_SIZE)
    adam = keras.optimizers.Adam(warmed_up_and_falling(LEARNING_RATE, steps))
    data = hashlib.sha256(np.ascontiguousarray(wanted[:100])).digest()
    return trained(path, new_model, fit, adam, SEED, data)


def put_into_holes(made: Images, damaged: Damaged) -> Images:
    """Keeps restored pixels inside holes only."""
    if damaged.holes is None:
        return made
    return np.where(damaged.holes, made, damaged.images)


def autoencoder(given: tuple[int, ...], made: tuple[int, ...]) -> keras_vq.Autoencoder:
    return keras_vq.Autoencoder(*networks(given, made))


def vqvae(given: tuple[int, ...], made: tuple[int, ...]) -> keras_vq.VQVAE:
    encoder, decoder = networks(given, made)
    stages = [
        VectorQuantizer(codebook=EMACodebook(CODES, decay=0.95, restart=DeadCodeRestart()))
        for _ in range(STAGES)
    ]
    return keras_vq.VQVAE(encoder, ResidualQuantizer(stages), decoder)


def networks(given: tuple[int, ...], made: tuple[int, ...]) -> tuple[keras.Model, keras.Model]:
    """Builds an encoder and decoder whose bottleneck has half the output height and width."""
    strides = given[0] * 2 // made[0]
    grid = (made[0] // 2, made[1] // 2, LATENT_DIM)
    encoder = keras.Sequential(
        [
            keras.Input(given),
            layers.Conv2D(64, 4, strides, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same"),
            keras_vq.layers.ResidualStack(2, 32),
            layers.Conv2D(LATENT_DIM, 1),
        ],
        name="encoder",
    )
    decoder = keras.Sequential(
        [
            keras.Input(grid),
            layers.Conv2D(64, 3, padding="same"),
            keras_vq.layers.ResidualStack(2, 32),
            layers.Conv2DTranspose(32, 4, 2, padding="same", activation="relu"),
            layers.Conv2D(made[2], 3, padding="same"),
        ],
        name="decoder",
    )
    return encoder, decoder
