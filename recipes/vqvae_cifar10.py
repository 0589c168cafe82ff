"""VQ-VAE on CIFAR-10: 32 x 32 RGB pixels to 8 x 8 codes of 9 bits.

The first run reproduces the network and settings of the Sonnet notebook by DeepMind (EMA codebook,
decay 0.99, Adam 3e-4, 10,000 steps of 32 images). Its log ends at a variance-normalized error of
0.056 and a perplexity of 326 per batch. The other runs use the same number of bits and steps:
dead-code restart with cosine codebook lookup in 8 dimensions; the same with learning rate decay;
and the notebook's codebook with restarts, learning rate decay and residual blocks of 128 filters
instead of 32. The pixels come from a JPEG copy if the data set does.

Error and perplexity are also reported per batch as in the notebook's log, over the last 100
training batches with the trained model. Checkpoints are stored in the cache folder, so an
interrupted run resumes.

Run: python -m recipes.vqvae_cifar10 [--steps 10000] [--limit N]
"""

import argparse
import math
from typing import Any

import keras
import numpy as np
from keras.layers import Rescaling

import keras_vq
from keras_vq import DeadCodeRestart, EMACodebook, ProjectedQuantizer, Quantizer, VectorQuantizer
from keras_vq.plots import plot_rows
from recipes.common import (
    RandomBatches,
    Stopwatch,
    kept_models,
    likeness,
    results_folder,
    save,
    trained,
    warmed_up_and_falling,
)

SEED = 0
CODES = 512
BATCH_SIZE = 32
LEARNING_RATE = 3e-4
FASTER = 1e-3
# Steps between checkpoints.
PART = 1000
LAST = 100


def sonnet() -> Quantizer:
    return VectorQuantizer(codebook=EMACodebook(CODES, decay=0.99, bias_correction=True))


def centered_networks(residual_filters: int) -> keras_vq.networks.EncoderDecoder:
    """Builds the networks of the notebook, with pixels in [-0.5, 0.5]."""
    encoder, decoder = keras_vq.networks.residual_convolutional(
        (32, 32, 3), residual_filters=residual_filters, output_activation=None
    )
    return keras_vq.networks.EncoderDecoder(
        keras.Sequential([keras.Input((32, 32, 3)), Rescaling(1.0, offset=-0.5), encoder]),
        keras.Sequential([decoder, Rescaling(1.0, offset=0.5)]),
    )


def restarted() -> Quantizer:
    return VectorQuantizer(codebook=EMACodebook(CODES, decay=0.99, restart=DeadCodeRestart()))


def by_angle() -> Quantizer:
    codebook = EMACodebook(CODES, decay=0.99, restart=DeadCodeRestart())
    # Commitment weight of the preset `vqvae_cifar10`, four times the default.
    return ProjectedQuantizer(
        VectorQuantizer(codebook=codebook, commitment_weight=2.0, metric="cosine"), 8
    )


# Quantizer, filters of a residual block, whether the learning rate decays.
SETTINGS = {
    "Sonnet's": (sonnet, 32, False),
    "restarts, cosine in 8 dimensions": (by_angle, 32, False),
    "restarts, cosine in 8 dimensions, learning rate decay": (by_angle, 32, True),
    "restarts, wider blocks, learning rate decay": (restarted, 128, True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--limit", type=int, default=50_000, help="first N images of each split")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    train = keras_vq.data.load("cifar10", "train").take(arguments.limit).images
    test = keras_vq.data.load("cifar10", "test").take(arguments.limit).images
    batches = RandomBatches(train, arguments.steps, BATCH_SIZE, SEED)
    last = train[batches.order[-LAST:]]
    folder = kept_models("vqvae_cifar10", arguments.limit)
    part = min(PART, arguments.steps)

    table: dict[str, dict[str, object]] = {}
    rows = {"original": test[:10]}
    for place, (name, (build, filters, falls)) in enumerate(SETTINGS.items()):

        def new_model(build: Any = build, filters: int = filters) -> keras_vq.VQVAE:
            encoder, decoder = centered_networks(filters)
            variance = float(train.var(dtype="float64"))
            return keras_vq.VQVAE(encoder, build(), decoder, data_variance=variance)

        def fit(model: Any, **options: Any) -> None:
            parts = Parts(batches, part)
            epochs = math.ceil(arguments.steps / part)
            callbacks = [parts.callback(), *options.pop("callbacks")]
            model.fit(parts, epochs=epochs, shuffle=False, callbacks=callbacks, **options)

        rate = warmed_up_and_falling(FASTER, arguments.steps) if falls else LEARNING_RATE
        path = folder / f"setting_{place}_{arguments.steps}.keras"
        model, seconds = trained(path, new_model, fit, keras.optimizers.Adam(rate), SEED)
        made = model.reconstruct(test)
        table[name] = {
            "parameters": model.count_params(),
            "training, s": seconds,
            **of_batches(model, last),
            **likeness(test, made),
            "codes used": len(np.unique(model.encode(test))),
        }
        rows[name] = made[:10]
    plot_rows(
        rows,
        results_folder() / "vqvae_cifar10.png",
        title=f"CIFAR-10, 8 x 8 codes of 9 bits, {arguments.steps:,} steps of {BATCH_SIZE} images",
    )
    save("vqvae_cifar10", table, SEED, stopwatch)


class Parts(keras.utils.PyDataset):
    """Batches split into parts, one part per epoch."""

    def __init__(self, batches: RandomBatches, steps: int) -> None:
        super().__init__()
        self.batches, self.steps, self.part = batches, steps, 0

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, ...]:
        return self.batches[(self.part * self.steps + step) % len(self.batches)]

    def callback(self) -> keras.callbacks.Callback:
        """Returns a callback that selects the part of an epoch, also after resuming."""
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: setattr(self, "part", epoch)
        )


def of_batches(model: keras_vq.VQVAE, batches: np.ndarray) -> dict[str, float]:
    """Computes mean variance-normalized error and perplexity of batches `(n, batch, ...)`."""
    images = batches.reshape(-1, *batches.shape[2:])
    error = np.square(images - model.reconstruct(images), dtype="float64").mean()
    codes = model.encode(images).reshape(len(batches), -1)
    perplexities = [
        float(keras_vq.ops.perplexity(np.bincount(batch).astype("float32"))) for batch in codes
    ]
    return {
        "error over variance": float(error / model.data_variance),
        "perplexity per batch": float(np.mean(perplexities)),
    }


if __name__ == "__main__":
    main()
