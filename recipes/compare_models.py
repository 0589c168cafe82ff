"""Autoencoder, VAE, VQ-VAE and a GAN (DCGAN) on MNIST and CIFAR-10, on as many batches.

New images come from where each model can draw them: the autoencoder from a mixture of Gaussians
fitted to its training latents, the VAE from the standard normal, the VQ-VAE from a small PixelCNN
of its codes (trained for as many epochs, which is beside the budget; its seconds are in the
table), the GAN from noise. They are compared with test images by the Fréchet distance on features
of a small classifier of the same data set of our own (`recipes/_classifier.py`): no FID, which is
on features of Inception. Probes are logistic regressions on latents, of the GAN on the last layer
of its discriminator. The CIFAR-10 images come from a JPEG copy where the data set does.

Trained models are kept in the cache folder, epoch by epoch: a run that was interrupted goes on.

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
from recipes._datasets import add_datasets, name_of_run
from recipes._generation import fitted_prior
from recipes._measures import likeness
from recipes._pictures import draw_side_by_side
from recipes._probes import linear_probe
from recipes._results import Stopwatch, results_folder, save
from recipes._training import kept_models

COMPONENTS = 10
SAMPLES = 10_000
# Of each kind, as 8 x 8 images in the picture.
SHOWN = 64
# Training images of a probe: with more, minutes longer and the same order.
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
                "of its prior, s": more,
                **reconstructions(model, test.images),
                "Fréchet distance on our classifier": found["frechet_distance"],
                "bits an image, 32 a latent": bits(model, test.images),
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
        # Above what comes back, below what is new: a column for each model.
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
    """As many new images as tests, and the seconds that a prior was trained for."""
    n = min(SAMPLES, len(test))
    if isinstance(model, keras_vq.VQVAE):
        epochs = arguments.epochs or PLANS[dataset].epochs
        # Half the usual width: a quarter of the work.
        small = functools.partial(PixelCNNPrior.for_codes_of, dim=48)
        path = kept_models(f"compare_models_{dataset}", arguments.limit) / f"prior_{epochs}.keras"
        prior, seconds = fitted_prior(path, small, model, train, test, False, epochs, SEED)
        return model.generate(prior, n, seed=SEED), seconds
    if isinstance(model, keras_vq.VAE):
        return model.generate(n, seed=SEED), None
    if isinstance(model, keras_vq.Autoencoder):
        mixture = GaussianMixturePrior(COMPONENTS, SEED).fit(model.encode(train.images))
        return model.generate(n, mixture, seed=SEED), None
    return model.generate(n, SEED), None


def reconstructions(model: Any, images: np.ndarray) -> dict[str, float]:
    """Likeness of reconstructions; a GAN makes none."""
    if not hasattr(model, "reconstruct"):
        return {}
    return likeness(images, model.reconstruct(images))


def bits(model: Any, images: np.ndarray) -> float | None:
    """Bits of what an image is to a model: codes, or latents of 32 bits."""
    if isinstance(model, keras_vq.VQVAE):
        codes = model.encode_to_codes(images[:1])
        return float(codes.size * model.quantizer.bits_per_vector)
    if not hasattr(model, "reconstruct"):
        return None
    return 32.0 * model.encode(images[:1]).size


if __name__ == "__main__":
    main()
