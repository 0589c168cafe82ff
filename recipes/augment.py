"""Data augmentation: a VQ-VAE trained on 5,000 CIFAR-10 images, with and without random changes.

The images are augmented in a tf.data pipeline that runs in parallel with training. keras_cv 0.9
works there with Keras 3, but it is no longer developed. Prefer the equivalent layer of
`keras.layers`, and use keras_cv only for layers that Keras lacks, such as `RandomCropAndResize`.
Cutout and color changes do not apply here, because the model reconstructs its input. The CIFAR-10
images come from a JPEG copy if the data set does.

Run: python -m recipes.augment [--epochs 30] [--limit 5000]
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import keras
import keras_cv
import numpy as np
import tensorflow as tf
from keras import layers

import keras_vq
from keras_vq import DeadCodeRestart, EMACodebook, VectorQuantizer
from keras_vq.plots import plot_rows
from recipes.common import Stopwatch, likeness, mean_squared_error, results_folder, save

SEED = 0
BATCH_SIZE = 128
LEARNING_RATE = 1e-3
CODES = 512
SHOWN = 10


def flipped() -> list[Any]:
    return [layers.RandomFlip("horizontal", seed=SEED)]


def moved() -> list[Any]:
    moves = layers.RandomTranslation(0.1, 0.1, fill_mode="reflect", seed=SEED)
    return [*flipped(), moves, layers.RandomZoom(0.15, fill_mode="reflect", seed=SEED)]


def cropped() -> list[Any]:
    crops = keras_cv.layers.RandomCropAndResize(
        (32, 32), crop_area_factor=(0.6, 1.0), aspect_ratio_factor=(0.8, 1.25), seed=SEED
    )
    return [*flipped(), crops]


CHANGES: dict[str, Callable[[], list[Any]]] = {
    "none": lambda: [],
    "keras.layers: flips": flipped,
    "keras.layers: flips, translations, zooms": moved,
    "keras.layers: flips; keras_cv: crops": cropped,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--limit", type=int, default=5000, help="first N images of each split")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    train = keras_vq.data.load("cifar10", "train").take(arguments.limit).images
    test = keras_vq.data.load("cifar10", "test").take(arguments.limit).images
    table: dict[str, dict[str, object]] = {}
    rows = {"as they are": train[:SHOWN]}
    for name, changes in CHANGES.items():
        keras.utils.set_random_seed(SEED)
        batches = changed(train, changes())
        rows[name] = next(iter(changed(train, changes(), shuffle=False))).numpy()[:SHOWN]
        encoder, decoder = keras_vq.networks.residual_convolutional((32, 32, 3))
        codebook = EMACodebook(CODES, decay=0.95, restart=DeadCodeRestart())
        model = keras_vq.VQVAE(encoder, VectorQuantizer(codebook=codebook), decoder)
        steps = arguments.epochs * len(batches)
        rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
        model.compile(keras.optimizers.Adam(rate))
        model.fit(batches, epochs=arguments.epochs, verbose=2)
        table[name] = {
            "training MSE": mean_squared_error(train, model.reconstruct(train)),
            **likeness(test, model.reconstruct(test)),
            "images/s of the pipeline alone": speed(batches, len(train)),
        }
    title = f"CIFAR-10, changed at random; 8 x 8 codes of {CODES} after {arguments.epochs} epochs"
    plot_rows(rows, results_folder() / "augment.png", title=title)
    save("augment", table, SEED, stopwatch)


def changed(images: np.ndarray, changes: list[Any], shuffle: bool = True) -> tf.data.Dataset:
    """Returns batches of images that are augmented differently in every epoch."""

    def change(batch: Any) -> Any:
        for layer in changes:
            batch = layer(batch, training=True)
        return tf.ensure_shape(tf.clip_by_value(batch, 0.0, 1.0), (None, *images.shape[1:]))

    dataset = tf.data.Dataset.from_tensor_slices(images)
    if shuffle:
        dataset = dataset.shuffle(len(images), seed=SEED)
    return dataset.batch(BATCH_SIZE).map(change, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def speed(batches: tf.data.Dataset, count: int) -> float:
    """Measures the throughput of the pipeline alone, in images per second."""
    started = time.perf_counter()
    for _ in batches:
        pass
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
