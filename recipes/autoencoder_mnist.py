"""An autoencoder on MNIST: 28 x 28 pixels become 16 real numbers.

Run: python -m recipes.autoencoder_mnist [--epochs 3] [--limit N]
"""

import argparse

import keras

import keras_vq
from keras_vq.plots import plot_reconstructions
from recipes.common import Stopwatch, mean_squared_error, results_folder, save

SEED = 0
LATENT_DIM = 16
BATCH_SIZE = 128
# Three times the default learning rate converges further in three epochs.
LEARNING_RATE = 3e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    train = keras_vq.data.load("mnist", "train").take(arguments.limit).images
    test = keras_vq.data.load("mnist", "test").take(arguments.limit).images

    keras.utils.set_random_seed(SEED)
    maps = keras_vq.networks.convolutional((28, 28, 1), filters=(32, 64), latent_dim=None)
    model = keras_vq.Autoencoder(*keras_vq.networks.flat_latent(maps, LATENT_DIM))
    model.compile(keras.optimizers.Adam(LEARNING_RATE))
    model.fit(train, batch_size=BATCH_SIZE, epochs=arguments.epochs)

    reconstructions = model.reconstruct(test)
    mse = mean_squared_error(test, reconstructions)
    plot_reconstructions(
        test[:10],
        reconstructions[:10],
        filepath=results_folder() / "autoencoder_mnist.png",
        title=f"Autoencoder, {LATENT_DIM} numbers, {arguments.epochs} epochs: test MSE {mse:.5f}",
    )
    save("autoencoder_mnist", {"test MSE": mse}, SEED, stopwatch)


if __name__ == "__main__":
    main()
