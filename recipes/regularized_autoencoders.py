"""Sparse, contractive, denoising and plain autoencoders on MNIST.

All have one dense hidden layer of 256 sigmoid units between 784 input and 784 output pixels and are
trained for the same number of epochs. Encoder and decoder weights are not tied, unlike in the last
two papers. Each variant takes a few lines:

- sparse: penalty on the mean activation of units, Ng, "Sparse autoencoder", 2011: KL divergence
  between a target activation of 0.05 and the mean activation of each unit (`Sparse`);
- contractive: squared Frobenius norm of the Jacobian of the latents with respect to the pixels,
  Rifai et al., "Contractive Auto-Encoders", 2011 (`Contractive`);
- denoising: random pixels set to 0 during training, Vincent et al., "Extracting and Composing
  Robust Features with Denoising Autoencoders", 2008 (`Masked`).

The linear probe is a logistic regression on the hidden layer. In the picture of the weights, black
is negative and white is positive.

Run: python -m recipes.regularized_autoencoders [--epochs 10] [--limit N]
"""

import argparse
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

import keras_vq
from recipes._pictures import draw_side_by_side
from recipes._probes import linear_probe
from recipes.common import Stopwatch, likeness, mean_squared_error, results_folder, save

SEED = 0
UNITS = 256
BATCH_SIZE = 128
LEARNING_RATE = 1e-3
SPARSITY = 0.05
SPARSE_WEIGHT = 3e-4
CONTRACTIVE_WEIGHT = 3e-5
MASKED = 0.3
PROBED = 20_000
NOISE = 0.3


class Sparse(layers.Layer):
    """Identity layer that penalizes units whose mean activation differs from the target."""

    def call(self, hidden: Any) -> Any:
        mean = ops.clip(ops.mean(hidden, axis=0), 1e-6, 1 - 1e-6)
        on = SPARSITY * ops.log(SPARSITY / mean)
        off = (1 - SPARSITY) * ops.log((1 - SPARSITY) / (1 - mean))
        self.add_loss(SPARSE_WEIGHT * ops.sum(on + off))
        return hidden


class Contractive(layers.Dense):
    """Dense layer with sigmoid units that penalizes the squared norm of its Jacobian.

    For h = σ(W x + b) the norm is ‖∂h / ∂x‖² = Σⱼ (hⱼ (1 − hⱼ))² Σᵢ Wᵢⱼ².
    """

    def call(self, inputs: Any) -> Any:
        hidden = super().call(inputs)
        slopes = ops.square(hidden * (1 - hidden))
        norms = ops.sum(ops.square(self.kernel), axis=0)
        self.add_loss(CONTRACTIVE_WEIGHT * ops.mean(ops.sum(slopes * norms, axis=-1)))
        return hidden


class Masked(layers.Layer):
    """Layer that sets random pixels to 0 in training, without the rescaling of `Dropout`."""

    def __init__(self) -> None:
        super().__init__()
        self.draws = keras.random.SeedGenerator(SEED)

    def call(self, pixels: Any, training: bool = False) -> Any:
        if not training:
            return pixels
        is_kept = keras.random.uniform(ops.shape(pixels), seed=self.draws) >= MASKED
        return pixels * ops.cast(is_kept, pixels.dtype)


def hidden_layer() -> layers.Layer:
    return layers.Dense(UNITS, activation="sigmoid", name="hidden")


MODELS: dict[str, Callable[[], list[layers.Layer]]] = {
    "plain": lambda: [hidden_layer()],
    "sparse": lambda: [hidden_layer(), Sparse()],
    "contractive": lambda: [Contractive(UNITS, activation="sigmoid", name="hidden")],
    "denoising": lambda: [Masked(), hidden_layer()],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    train = keras_vq.data.load("mnist", "train").take(arguments.limit)
    test = keras_vq.data.load("mnist", "test").take(arguments.limit)
    noise = NOISE * np.random.default_rng(SEED).standard_normal(test.images.shape, "float32")
    noisy = np.clip(test.images + noise, 0, 1)
    few = train.take(PROBED)

    table: dict[str, dict[str, object]] = {}
    pictures = {}
    for name, build in MODELS.items():
        keras.utils.set_random_seed(SEED)
        flat = [keras.Input((28, 28, 1)), layers.Flatten()]
        encoder = keras.Sequential([*flat, *build()], name="encoder")
        decoder = keras.Sequential(
            [
                keras.Input((UNITS,)),
                layers.Dense(28 * 28, activation="sigmoid"),
                layers.Reshape((28, 28, 1)),
            ],
            name="decoder",
        )
        model = keras_vq.Autoencoder(encoder, decoder)
        model.compile(keras.optimizers.Adam(LEARNING_RATE))
        model.fit(train.images, batch_size=BATCH_SIZE, epochs=arguments.epochs, verbose=2)
        hidden = model.encode(test.images)
        table[name] = {
            **likeness(test.images, model.reconstruct(test.images)),
            f"MSE of images with noise of {NOISE}": mean_squared_error(
                test.images, model.reconstruct(noisy)
            ),
            "mean of the units": float(hidden.mean()),
            "change by the noise, of the latents' deviation": float(
                np.linalg.norm(model.encode(noisy) - hidden, axis=1).mean()
                / np.linalg.norm(hidden - hidden.mean(axis=0), axis=1).mean()
            ),
            "probe, %": linear_probe(model.encode(few.images), few.labels, hidden, test.labels),
        }
        (kernel,) = [w for w in encoder.get_layer("hidden").weights if len(w.shape) == 2]
        pictures[f"{name}: weights of 100 units"] = as_pictures(ops.convert_to_numpy(kernel))
    draw_side_by_side(pictures, results_folder() / "regularized_autoencoders.png", across=2)
    save("regularized_autoencoders", table, SEED, stopwatch)


def as_pictures(kernel: np.ndarray) -> np.ndarray:
    """Converts the weights of the first 100 units to images, with zero in mid-gray."""
    maps = kernel.T[:100].reshape(-1, 28, 28, 1)
    return 0.5 + 0.5 * maps / np.abs(maps).max(axis=(1, 2, 3), keepdims=True)


if __name__ == "__main__":
    main()
