"""Image generation on MNIST: PixelCNN, Transformer and MaskGIT priors over VQ-VAE codes.

The VQ-VAE is that of the keras.io example (128 code vectors of 16 dimensions, a 7 x 7 grid, trained
by gradient). The training images are encoded once. PixelCNN, Transformer and MaskGIT are trained on
the codes, and a class-conditional Transformer on codes and labels. Samples are evaluated against
the test images on features of a small MNIST classifier (`recipes/_classifier.py`). This is not FID,
which uses Inception features. The table lists for each prior the likelihood of test codes, sample
quality, and the time to generate 1,000 images with and without caching.

Trained models are stored in the cache folder after every epoch, so an interrupted run resumes.

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
from recipes.common import Stopwatch, kept_models, results_folder, save, trained

SEED = 0
# The default rate of 1e-3 gives a lower error and a higher bit rate; the table has both figures.
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
            PRIORS[name].for_model,
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
    """Returns the file name of a prior in the cache folder."""
    return f"{name.replace(', ', '_').replace(' ', '_')}_{epochs}_of_vqvae_{vqvae_epochs}.keras"


def trained_vqvae(folder: Path, images: np.ndarray, epochs: int) -> keras_vq.VQVAE:
    """Loads or trains the VQ-VAE of the keras.io example."""

    def fit(model: Any, **options: Any) -> None:
        model.fit(images, batch_size=BATCH_SIZE, epochs=epochs, **options)

    path = folder / f"vqvae_{epochs}.keras"
    return trained(path, new_vqvae, fit, keras.optimizers.Adam(LEARNING_RATE), SEED)[0]


def new_vqvae() -> keras_vq.VQVAE:
    encoder, decoder = keras_vq.networks.convolutional(
        (28, 28, 1), filters=(32, 64), latent_dim=LATENT_DIM, output_activation=None
    )
    quantizer = keras_vq.VectorQuantizer(codebook=keras_vq.GradientCodebook(CODES))
    return keras_vq.VQVAE(encoder, quantizer, decoder)


if __name__ == "__main__":
    main()
