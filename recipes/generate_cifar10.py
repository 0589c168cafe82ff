"""Image generation on CIFAR-10: a class-conditional Transformer prior over VQ-VAE codes.

The prior is trained on codes and labels of the preset `vqvae_cifar10` and samples all classes
equally often. Samples cannot be sharper than the reconstructions of the VQ-VAE from 8 x 8 codes of
9 bits, so the picture shows both. Samples are evaluated on features of a small CIFAR-10 classifier
(`recipes/_classifier.py`). This is not FID, which uses Inception features. The pixels come from a
JPEG copy if the data set does.

Trained models are stored in the cache folder after every epoch, so an interrupted run resumes.

Run: python -m recipes.generate_cifar10 [--epochs 3] [--limit N]
"""

import argparse

import keras_vq
from keras_vq.priors import TransformerPrior
from recipes._classifier import classifier
from recipes._generation import SAMPLES, fitted_prior, measured, scores
from recipes._pictures import draw_side_by_side
from recipes.common import Stopwatch, kept_models, results_folder, save

SEED = 0
EPOCHS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--limit", type=int, default=50_000, help="first N images of each split")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    train = keras_vq.data.load("cifar10", "train").take(arguments.limit)
    test = keras_vq.data.load("cifar10", "test").take(arguments.limit)
    judge = classifier("cifar10", arguments.limit)
    vqvae = keras_vq.VQVAE.from_preset("vqvae_cifar10")
    folder = kept_models("generate_cifar10", arguments.limit)

    made = vqvae.reconstruct(test.images[:SAMPLES])
    table = {"test images, reconstructed": scores(judge, test.name, test.images, made, None)}
    pictures = {"test images, reconstructed": made[:100]}
    name = "transformer, by label"
    prior, seconds = fitted_prior(
        folder / prior_file(arguments.epochs),
        TransformerPrior.for_model,
        vqvae,
        train,
        test,
        by_label=True,
        epochs=arguments.epochs,
        seed=SEED,
    )
    row, images = measured(prior, vqvae, test, judge, SEED)
    training = {"epochs": arguments.epochs, "training, s": seconds}
    table[name] = {"parameters": prior.count_params(), **training, **row}
    pictures[name] = images[:100]
    draw_side_by_side(pictures, results_folder() / "generate_cifar10.png")
    save("generate_cifar10", table, SEED, stopwatch)


def prior_file(epochs: int) -> str:
    """Returns the file name of the prior in the cache folder."""
    return f"transformer_by_label_{epochs}.keras"


if __name__ == "__main__":
    main()
