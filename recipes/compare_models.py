"""Autoencoder, VAE, VQ-VAE and GAN (DCGAN) on MNIST and CIFAR-10, with equal training budgets.

Each model samples images in its own way: the autoencoder from a Gaussian mixture fitted to its
training latents, the VAE from the standard normal distribution, the VQ-VAE from a small PixelCNN
prior (trained for the same number of epochs, outside the budget; the table lists its training
time), the GAN from noise. Samples are compared with test images by the Fréchet distance between
features of a small classifier of the same data set (`recipes/_classifier.py`). This is not FID,
which uses Inception features. Linear probes are logistic regressions on latents, or on the last
layer of the discriminator for the GAN. The CIFAR-10 images come from a JPEG copy if the data set
does.

Trained models are stored in the cache folder after every epoch, so an interrupted run resumes.

Run: python -m recipes.compare_models [--limit N] [--epochs N] [--datasets mnist]
"""

import argparse
import functools
from typing import Any

import numpy as np

import keras_vq
from keras_vq.data import ImageDataset
from keras_vq.metrics import compare_images
from keras_vq.priors import GaussianMixturePrior, PixelCNNPrior
from recipes._classifier import classifier
from recipes._compared import MODELS, PLANS, SEED, compared, features
from recipes._generation import fitted_prior
from recipes._pictures import draw_side_by_side
from recipes._probes import linear_probe
from recipes.common import (
    Stopwatch,
    add_datasets,
    kept_models,
    likeness,
    name_of_run,
    results_folder,
    save,
)

COMPONENTS = 10
SAMPLES = 10_000
# Images of each model in the picture, as 8 x 8.
SHOWN = 64
# Training images of a linear probe. More images take minutes longer and give the same ranking.
PROBED = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    parser.add_argument("--epochs", type=int, help="instead of 4 on MNIST and 5 on CIFAR-10")
    add_datasets(parser)
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    table: dict[str, dict[str, object]] = {}
    for dataset in arguments.datasets:
        train = keras_vq.data.load(dataset, "train").take(arguments.limit)
        test = keras_vq.data.load(dataset, "test").take(arguments.limit)
        judge = classifier(dataset, arguments.limit)
        given, made = {}, {}
        for name in MODELS:
            model, seconds = compared(dataset, name, train, arguments.limit, arguments.epochs)
            of_test = features(model, test.images)
            images, more = new_images(model, dataset, train, test, arguments)
            found = compare_images(
                judge.feature_network,
                test.images[: len(images)],
                images,
                subset_size=min(1000, len(images)),
            )
            table[f"{dataset}: {name}"] = {
                "parameters": model.count_params(),
                "training, s": seconds,
                "prior training, s": more,
                **reconstructions(model, test.images),
                "Fréchet distance on our classifier": found["frechet_distance"],
                "bits per image (32 per latent)": bits(model, test.images),
                "numbers probed": of_test.shape[1],
                "probe, %": linear_probe(
                    features(model, train.images[:PROBED]),
                    train.labels[:PROBED],
                    of_test,
                    test.labels,
                ),
            }
            made[f"{name}: new images"] = images[:SHOWN]
            if name != "DCGAN":
                given[f"{name}: test images"] = model.reconstruct(test.images[:SHOWN])
        # Reconstructions above, samples below, one column for each model.
        given["test images"] = test.images[:SHOWN]
        path = results_folder() / f"compare_models_{dataset}.png"
        draw_side_by_side({**given, **made}, path, across=len(made), columns=8)
    save(name_of_run("compare_models", arguments.datasets), table, SEED, stopwatch)


def new_images(
    model: Any,
    dataset: str,
    train: ImageDataset,
    test: ImageDataset,
    arguments: argparse.Namespace,
) -> tuple[np.ndarray, float | None]:
    """Returns as many samples as test images, and the training time of the prior in seconds."""
    n = min(SAMPLES, len(test))
    if isinstance(model, keras_vq.VQVAE):
        epochs = arguments.epochs or PLANS[dataset].epochs
        # Half the default width, for a quarter of the cost.
        small = functools.partial(PixelCNNPrior.for_model, hidden_dim=48)
        path = kept_models(f"compare_models_{dataset}", arguments.limit) / f"prior_{epochs}.keras"
        prior, seconds = fitted_prior(path, small, model, train, test, False, epochs, SEED)
        return model.generate(n, prior, seed=SEED), seconds
    if isinstance(model, keras_vq.VAE):
        return model.generate(n, seed=SEED), None
    if isinstance(model, keras_vq.Autoencoder):
        mixture = GaussianMixturePrior(COMPONENTS, SEED)
        mixture.fit(model.encode(train.images))
        return model.generate(n, mixture, seed=SEED), None
    return model.generate(n, SEED), None


def reconstructions(model: Any, images: np.ndarray) -> dict[str, float]:
    """Returns reconstruction metrics; empty for a GAN."""
    if not hasattr(model, "reconstruct"):
        return {}
    return likeness(images, model.reconstruct(images))


def bits(model: Any, images: np.ndarray) -> float | None:
    """Returns bits per image of the representation: codes, or latents of 32 bits each."""
    if isinstance(model, keras_vq.VQVAE):
        codes = model.encode(images[:1])
        return float(codes.size * model.quantizer.bits_per_vector)
    if not hasattr(model, "reconstruct"):
        return None
    return 32.0 * model.encode(images[:1]).size


if __name__ == "__main__":
    main()
