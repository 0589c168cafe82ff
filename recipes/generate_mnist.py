"""New MNIST digits: a VQ-VAE learns codes, and three priors learn what codes go together.

The VQ-VAE is that of the example of keras.io (128 codes of 16 dimensions on a grid of 7 x 7, learnt
by gradient). Its training images are encoded once; PixelCNN, transformer and MaskGIT are fitted to
their codes, and a transformer to codes and labels. All draw new digits, which are measured against
the test images on features of a small classifier of MNIST of our own (`recipes/_classifier.py`;
not Inception, so it is no FID). The table tells for each prior what its codes cost, what its
digits are worth, and what drawing 1,000 of them takes, with and without what `generate` keeps of
earlier positions.

Trained models are kept in the cache folder, epoch by epoch: a run that was interrupted goes on.

Run: python -m recipes.generate_mnist [--vqvae-epochs 30] [--prior-epochs 4] [--limit N]
"""

import argparse
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vq
from keras_vq.priors import MaskedPrior, PixelCNNPrior, TransformerPrior
from recipes._classifier import classifier
from recipes._generation import BATCH_SIZE, SAMPLES, fitted_prior, measured, scores
from recipes._pictures import draw_side_by_side
from recipes._results import Stopwatch, results_folder, save
from recipes._training import kept_models, trained

SEED = 0
# At Adam's usual 1e-3 images err less, and codes cost more bits: both figures are in the table.
LEARNING_RATE = 5e-4
VQVAE_EPOCHS = 30
PRIOR_EPOCHS = 4
CODES = 128
LATENT_DIM = 16

PRIORS = {
    "PixelCNN": PixelCNNPrior,
    "transformer": TransformerPrior,
    "MaskGIT": MaskedPrior,
    "transformer, by label": TransformerPrior,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vqvae-epochs", type=int, default=VQVAE_EPOCHS)
    parser.add_argument("--prior-epochs", type=int, default=PRIOR_EPOCHS)
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    parser.add_argument("--only", choices=list(PRIORS), action="append", help="these priors only")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    train = keras_vq.data.load("mnist", "train").take(arguments.limit)
    test = keras_vq.data.load("mnist", "test").take(arguments.limit)
    judge = classifier("mnist", arguments.limit)
    folder = kept_models("generate_mnist", arguments.limit)

    vqvae = trained_vqvae(folder, train.images, arguments.vqvae_epochs)
    epochs = arguments.prior_epochs, arguments.vqvae_epochs

    table: dict[str, dict[str, object]] = {}
    pictures = {}
    for name in arguments.only or PRIORS:
        prior, seconds = fitted_prior(
            folder / prior_file(name, *epochs),
            PRIORS[name].for_codes_of,
            vqvae,
            train,
            test,
            by_label="by label" in name,
            epochs=arguments.prior_epochs,
            seed=SEED,
        )
        row, images = measured(prior, vqvae, test, judge, SEED)
        training = {"epochs": arguments.prior_epochs, "training, s": seconds}
        table[name] = {"parameters": prior.count_params(), **training, **row}
        pictures[name] = images[:100]

    vae = keras_vq.VAE.from_preset("vae_mnist")
    images = vae.generate(min(SAMPLES, len(test.images)), seed=SEED)
    table["VAE, standard normal"] = scores(
        judge, test.name, test.images[: len(images)], images, None
    )
    pictures["VAE, standard normal"] = images[:100]
    draw_side_by_side(pictures, results_folder() / "generate_mnist.png")
    save("generate_mnist", table, SEED, stopwatch)


def prior_file(name: str, epochs: int, vqvae_epochs: int) -> str:
    """What a prior is called in the folder of kept models."""
    return f"{name.replace(', ', '_').replace(' ', '_')}_{epochs}_of_vqvae_{vqvae_epochs}.keras"


def trained_vqvae(folder: Path, images: np.ndarray, epochs: int) -> keras_vq.VQVAE:
    """The VQ-VAE of the example of keras.io, from the folder of kept models or trained now."""

    def fit(model: Any, **options: Any) -> None:
        model.fit(images, batch_size=BATCH_SIZE, epochs=epochs, **options)

    path = folder / f"vqvae_{epochs}.keras"
    return trained(path, new_vqvae, fit, keras.optimizers.Adam(LEARNING_RATE), SEED)[0]


def new_vqvae() -> keras_vq.VQVAE:
    encoder, decoder = keras_vq.networks.convolutional(
        (28, 28, 1), filters=(32, 64), latent_dim=LATENT_DIM, output_activation=None
    )
    quantizer = keras_vq.VectorQuantizer(keras_vq.Codebook(CODES))
    return keras_vq.VQVAE(encoder, quantizer, decoder)


if __name__ == "__main__":
    main()
