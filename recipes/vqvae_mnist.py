"""A VQ-VAE on MNIST: 28 x 28 pixels become 7 x 7 codes of 7 bits.

The network of the VQ-VAE example of keras.io, for 3 epochs instead of its 30, with a codebook of
moving averages whose unused codes are restarted. Two more runs tell what raises the perplexity:
without restarts, and with the slower average that is usual.

Run: python -m recipes.vqvae_mnist [--epochs 3] [--limit N]
"""

import argparse

import keras

import keras_vq
from keras_vq.plots import plot_reconstructions
from recipes._measures import mean_squared_error
from recipes._results import Stopwatch, results_folder, save

SEED = 0
CODES = 128
LATENT_DIM = 16
BATCH_SIZE = 128
LEARNING_RATE = 1e-3

# The decay forgets in 20 steps: the codes keep up with an encoder that moves fast in 3 epochs.
RESTART = keras_vq.DeadCodeRestart()
CODEBOOKS = {
    "restart, decay 0.95": {"decay": 0.95, "restart": RESTART},
    "restart, decay 0.99": {"decay": 0.99, "restart": RESTART},
    "no restart, decay 0.99": {"decay": 0.99, "restart": None},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    train = keras_vq.data.load("mnist", "train").take(arguments.limit).images
    test = keras_vq.data.load("mnist", "test").take(arguments.limit).images

    figures: dict[str, object] = {}
    for name, options in CODEBOOKS.items():
        keras.utils.set_random_seed(SEED)
        encoder, decoder = keras_vq.networks.convolutional(
            (28, 28, 1), filters=(32, 64), latent_dim=LATENT_DIM
        )
        codebook = keras_vq.EMACodebook(CODES, **options)
        model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(codebook), decoder)
        model.compile(keras.optimizers.Adam(LEARNING_RATE))
        model.fit(train, batch_size=BATCH_SIZE, epochs=arguments.epochs)

        logs = model.evaluate(test, batch_size=BATCH_SIZE, return_dict=True, verbose=0)
        reconstructions = model.reconstruct(test)
        figures[f"{name}: test MSE"] = mean_squared_error(test, reconstructions)
        figures[f"{name}: codes in use"] = round(logs["codebook_usage"] * CODES)
        figures[f"{name}: perplexity"] = logs["perplexity"]
        if len(figures) == 3:
            plot_reconstructions(
                test[:10],
                reconstructions[:10],
                path=results_folder() / "vqvae_mnist.png",
                title=f"VQ-VAE, 7 x 7 codes of 7 bits, {arguments.epochs} epochs: "
                f"test MSE {figures[f'{name}: test MSE']:.5f}",
            )
    save("vqvae_mnist", figures, SEED, stopwatch)


if __name__ == "__main__":
    main()
