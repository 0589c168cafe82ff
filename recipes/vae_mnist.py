"""Variational autoencoder (VAE) on MNIST with 16 Gaussian latents.

Reports the evidence lower bound (ELBO) on test images. Gray values are used as probabilities of
white pixels, without binarization.

Run: python -m recipes.vae_mnist [--epochs 10] [--limit N]
"""

import argparse

import keras
import numpy as np

import keras_vq
from keras_vq.plots import plot_reconstructions, plot_samples
from recipes.common import Stopwatch, results_folder, save

SEED = 0
LATENT_DIM = 16
BATCH_SIZE = 128
LEARNING_RATE = 1e-3
# Posterior samples per test image; the ELBO estimate then varies by hundredths of a nat.
SAMPLES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    train = keras_vq.data.load("mnist", "train").take(arguments.limit).images
    test = keras_vq.data.load("mnist", "test").take(arguments.limit).images

    keras.utils.set_random_seed(SEED)
    maps = keras_vq.networks.convolutional(
        (28, 28, 1), latent_dim=None, output_activation="sigmoid"
    )
    model = keras_vq.VAE(*keras_vq.networks.flat_latent(maps, None), latent_dim=LATENT_DIM)
    steps = arguments.epochs * -(-len(train) // BATCH_SIZE)
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    model.compile(keras.optimizers.Adam(schedule))
    model.fit(train, batch_size=BATCH_SIZE, epochs=arguments.epochs)

    logs = [
        model.evaluate(test, batch_size=BATCH_SIZE, return_dict=True, verbose=0)
        for _ in range(SAMPLES)
    ]
    figures = {
        "test ELBO (nats)": -float(np.mean([log["loss"] for log in logs])),
        "test reconstruction (nats)": float(np.mean([log["reconstruction_loss"] for log in logs])),
        "test KL (nats)": float(np.mean([log["kl_loss"] for log in logs])),
    }
    title = f"VAE, {LATENT_DIM} latents, {arguments.epochs} epochs"
    plot_reconstructions(
        test[:10],
        model.reconstruct(test[:10]),
        filepath=results_folder() / "vae_mnist.png",
        title=f"{title}: test ELBO {figures['test ELBO (nats)']:.1f} nats",
    )
    plot_samples(
        model.generate(40, seed=SEED),
        filepath=results_folder() / "vae_mnist_samples.png",
        title=f"{title}: images of random latents",
    )
    save("vae_mnist", figures, SEED, stopwatch)


if __name__ == "__main__":
    main()
