"""Data, networks, models and codebook initialization from training settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vq.data
from keras_vq import (
    VAE,
    VQVAE,
    Autoencoder,
    DeadCodeRestart,
    EMACodebook,
    GradientCodebook,
    networks,
)
from keras_vq.data import ImageDataset
from keras_vq_cli.backend import importing
from keras_vq_cli.settings import ONLY_FOR, Settings

# Latent vectors per image of a dense VQ-VAE; with one vector, an image would be a single code.
_DENSE_VECTORS = 16
_VECTORS_PER_CODE = 256
_COMMON_NAMES = ("digits", "mnist", "fashion_mnist", "cifar10")


def with_whole_path(settings: Settings) -> Settings:
    """Returns settings with absolute folder paths, so that a run can be resumed from anywhere."""
    folder = Path(settings.dataset).expanduser()
    if settings.dataset not in _COMMON_NAMES and folder.is_dir():
        settings = dataclasses.replace(settings, dataset=str(folder.resolve()))
    if settings.data_dir is not None:
        data_dir = str(Path(settings.data_dir).expanduser().resolve())
        settings = dataclasses.replace(settings, data_dir=data_dir)
    return settings


def load_images(settings: Settings, progress: bool) -> tuple[ImageDataset, ImageDataset]:
    """Loads the training and test images.

    Test images are the split "test", else "validation", else the last 10 % of the split "train",
    which are then excluded from training.

    Raises:
        ValueError: If the data set does not exist or can't be read.
    """
    limit: dict[str, Any] = {}
    if settings.max_pixels is not None:
        limit["max_pixels"] = settings.max_pixels

    def load(split: str) -> ImageDataset:
        return keras_vq.data.load(
            settings.dataset,
            split,
            data_dir=settings.data_dir,
            image_size=settings.image_size,
            skip_broken=settings.skip_broken,
            progress=progress,
            **limit,
        )

    train = load("train")
    test = _first_that_exists(load, ("test", "validation"))
    if test is None:
        train, test = load("train[:90%]"), load("train[90%:]")
    if settings.limit is not None:
        train = train.take(settings.limit)
    return train, test


def _first_that_exists(load: Any, splits: tuple[str, ...]) -> ImageDataset | None:
    for split in splits:
        try:
            return load(split)
        except keras_vq.data.UnknownSplitError:
            continue
    return None


def build_model(settings: Settings, image_shape: tuple[int, int, int]) -> keras.Model:
    """Builds and compiles the model of completed settings, with weights drawn from the seed."""
    with importing():  # imports TensorFlow on every backend
        keras.utils.set_random_seed(settings.seed)
    policy = settings.mixed_precision
    keras.config.set_dtype_policy("float32" if policy is None else f"mixed_{policy}")
    model = _MODELS[settings.model](settings, image_shape)
    model.compile(keras.optimizers.Adam(settings.learning_rate))
    return model


def start_codes(model: keras.Model, settings: Settings, images: ImageDataset) -> None:
    """Initializes the codebook of a VQ-VAE by k-means on latents if `start` is "kmeans"."""
    if settings.start != "kmeans":
        return
    assert settings.codebook_size is not None
    vectors_per_image = model.encode(images.take(1).images).size
    wanted = -(-_VECTORS_PER_CODE * settings.codebook_size // vectors_per_image)
    order = np.random.default_rng(settings.seed).permutation(len(images))[:wanted]
    chosen = np.divide(images.pixels[np.sort(order)], 255, dtype="float32")
    model.adapt(chosen, "kmeans", settings.batch_size)


def _autoencoder(settings: Settings, image_shape: tuple[int, int, int]) -> keras.Model:
    if settings.network == "dense":
        return Autoencoder(*_dense(settings, image_shape, settings.latent_dim))
    maps = _maps(settings, image_shape, None)
    return Autoencoder(*networks.flat_latent(maps, settings.latent_dim))


def _vae(settings: Settings, image_shape: tuple[int, int, int]) -> keras.Model:
    if settings.network == "dense":
        encoder, decoder = _dense(settings, image_shape, None)
    else:
        encoder, decoder = networks.flat_latent(_maps(settings, image_shape, None), None)
    return VAE(
        encoder,
        decoder,
        settings.latent_dim,
        seed=settings.seed,
        **_own_options(settings),
    )


def _vqvae(settings: Settings, image_shape: tuple[int, int, int]) -> keras.Model:
    if settings.network == "dense":
        encoder, decoder = _dense(settings, image_shape, _DENSE_VECTORS * settings.latent_dim)
        vectors = (_DENSE_VECTORS, settings.latent_dim)
        encoder = keras.Sequential(
            [keras.Input(image_shape), *encoder.layers, keras.layers.Reshape(vectors)],
            name="encoder",
        )
        decoder = keras.Sequential(
            [keras.Input(vectors), keras.layers.Flatten("channels_last"), *decoder.layers],
            name="decoder",
        )
    else:
        encoder, decoder = _maps(settings, image_shape, settings.latent_dim)
    own = _own_options(settings)
    codebook_class = EMACodebook if own["codebook"] == "ema" else GradientCodebook
    # With decay 0.95, dead codes are restarted after 45 steps instead of 229.
    codebook = codebook_class(
        own["codebook_size"], decay=0.95, restart=DeadCodeRestart(), seed=settings.seed
    )
    quantizer = keras_vq.VectorQuantizer(
        codebook=codebook, commitment_weight=own["commitment"], estimator=own["estimator"]
    )
    return VQVAE(encoder, quantizer, decoder)


def _own_options(settings: Settings) -> dict[str, Any]:
    """Returns the settings that are specific to the type of model."""
    return {name: getattr(settings, name) for name in ONLY_FOR[settings.model]}


def _maps(
    settings: Settings, image_shape: tuple[int, int, int], latent_dim: int | None
) -> networks.EncoderDecoder:
    network = getattr(networks, str(settings.network))
    return network(
        image_shape,
        filters=settings.filters,
        latent_dim=latent_dim,
        output_activation=_output_activation(settings),
        pad=True,
    )


def _dense(
    settings: Settings, image_shape: tuple[int, int, int], latent_dim: int | None
) -> networks.EncoderDecoder:
    assert settings.filters is not None
    return networks.dense(
        image_shape,
        units=settings.filters,
        latent_dim=latent_dim,
        output_activation=_output_activation(settings),
    )


def _output_activation(settings: Settings) -> str:
    """Returns "sigmoid" for a VAE, whose Bernoulli loss takes probabilities, else "clip"."""
    return "sigmoid" if settings.model == "vae" else "clip"


_MODELS = {"autoencoder": _autoencoder, "vae": _vae, "vqvae": _vqvae}
