"""Models that `compare_models` and `image_analysis` compare, with equal training budgets.

Autoencoder, VAE and VQ-VAE use the same convolutional networks, the DCGAN layers of similar size.
All are trained on the same number of batches of the same size, once, and stored in the cache
folder.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

import keras_vq
from keras_vq import DeadCodeRestart, EMACodebook, VectorQuantizer
from keras_vq.data import ImageDataset
from recipes._gan import DCGAN
from recipes._gan import LEARNING_RATE as GAN_LEARNING_RATE
from recipes.common import kept_models, trained

SEED = 0
BATCH_SIZE = 128
LEARNING_RATE = 1e-3
CODES = 256
CODE_DIM = 32


class Plan(NamedTuple):
    """Settings of one data set."""

    latent_dim: int
    epochs: int


PLANS = {"mnist": Plan(latent_dim=16, epochs=4), "cifar10": Plan(latent_dim=64, epochs=5)}
MODELS = ("autoencoder", "VAE", "VQ-VAE", "DCGAN")


def compared(
    dataset: str, name: str, train: ImageDataset, limit: int, epochs: int | None = None
) -> tuple[Any, float]:
    """Loads or trains one of the models; returns it and its training time in seconds.

    Args:
        dataset: A name in `PLANS`.
        name: One of `MODELS`.
        train: Training images.
        limit: Integer. Maximum number of training images; part of the cache key.
        epochs: Integer. Number of epochs. Defaults to the value of the plan.
    """
    plan = PLANS[dataset]
    epochs = plan.epochs if epochs is None else epochs

    def fit(model: Any, **options: Any) -> None:
        model.fit(train.images, batch_size=BATCH_SIZE, epochs=epochs, **options)

    steps = epochs * math.ceil(len(train) / BATCH_SIZE)
    if name == "DCGAN":
        optimizer = keras.optimizers.Adam(GAN_LEARNING_RATE, beta_1=0.5)
    else:
        rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
        optimizer = keras.optimizers.Adam(rate)
    file = f"{name.lower()}_{epochs}.keras"
    path = kept_models(f"compare_models_{dataset}", limit) / file
    return trained(path, lambda: BUILD[name](train.image_shape, plan), fit, optimizer, SEED)


def networks(
    image_shape: tuple[int, ...], latent_dim: int | None, output_activation: str = "clip"
) -> Any:
    """Builds the convolutional networks of all models except the DCGAN."""
    return keras_vq.networks.residual_convolutional(
        image_shape,
        filters=(32, 64),
        latent_dim=latent_dim,
        residual_blocks=1,
        output_activation=output_activation,
    )


def autoencoder(image_shape: tuple[int, ...], plan: Plan) -> keras_vq.Autoencoder:
    maps = networks(image_shape, None)
    return keras_vq.Autoencoder(*keras_vq.networks.flat_latent(maps, plan.latent_dim))


def vae(image_shape: tuple[int, ...], plan: Plan) -> keras_vq.VAE:
    maps = networks(image_shape, None, output_activation="sigmoid")
    return keras_vq.VAE(
        *keras_vq.networks.flat_latent(maps, None), latent_dim=plan.latent_dim, seed=SEED
    )


def vqvae(image_shape: tuple[int, ...], plan: Plan) -> keras_vq.VQVAE:
    del plan
    encoder, decoder = networks(image_shape, CODE_DIM)
    codebook = EMACodebook(CODES, decay=0.95, restart=DeadCodeRestart())
    return keras_vq.VQVAE(encoder, VectorQuantizer(codebook=codebook), decoder)


def dcgan(image_shape: tuple[int, ...], plan: Plan) -> DCGAN:
    del plan
    return DCGAN(image_shape)


BUILD: dict[str, Callable[[tuple[int, ...], Plan], Any]] = {
    "autoencoder": autoencoder,
    "VAE": vae,
    "VQ-VAE": vqvae,
    "DCGAN": dcgan,
}


def features(model: Any, images: np.ndarray) -> np.ndarray:
    """Returns flat features: latents, quantized latents, or the last layer of the discriminator."""
    if isinstance(model, DCGAN):
        made = model.features(images)
    else:
        made = (
            model.encode_quantized(images)
            if isinstance(model, keras_vq.VQVAE)
            else model.encode(images)
        )
    return made.reshape(len(images), -1)


def code_histograms(model: keras_vq.VQVAE, images: np.ndarray) -> np.ndarray:
    """Counts the codes of each image. Shape `(n, codebook_size)`."""
    codes = model.encode(images).reshape(len(images), -1)
    size = model.codebook_sizes[0]
    rows = np.arange(len(images))[:, None] * size
    counts = np.bincount((codes + rows).ravel(), minlength=len(images) * size)
    return counts.reshape(len(images), size).astype("float32")
