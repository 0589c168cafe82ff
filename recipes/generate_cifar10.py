"""New images of CIFAR-10: a transformer learns the codes of the VQ-VAE that comes with the package.

The prior learns codes and labels, and draws images of all classes in turn. 8 x 8 codes of 9 bits
hold what an image is to the VQ-VAE, which is blurred to begin with: the picture shows test images
as it reconstructs them beside the samples, which can be no sharper. Samples are measured on
features of a small classifier of CIFAR-10 of our own (`recipes/_classifier.py`; not Inception, so
it is no FID; the pixels come from a JPEG copy where the data set does).

Trained models are kept in the cache folder, epoch by epoch: a run that was interrupted goes on.

Run: python -m recipes.generate_cifar10 [--epochs 3] [--limit N]
"""

import argparse

import keras_vq
from keras_vq.priors import TransformerPrior
from recipes._classifier import classifier
from recipes._generation import SAMPLES, fitted_prior, measured, scores
from recipes._pictures import draw_side_by_side
from recipes._results import Stopwatch, results_folder, save
from recipes._training import kept_models

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
        TransformerPrior.for_codes_of,
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
    """What the prior is called in the folder of kept models."""
    return f"transformer_by_label_{epochs}.keras"


if __name__ == "__main__":
    main()
