"""Latent space of a VAE on MNIST: latent traversal, and sampling from two latent distributions.

Uses the preset `vae_mnist`. Digits are sampled from the standard normal distribution and from a
Gaussian mixture fitted to the latents of the training images. Both are evaluated against the test
images on features of a small MNIST classifier (`recipes/_classifier.py`). These are not FID or KID,
which use Inception features. The first run trains the classifier, which takes a few more minutes.

Run: python -m recipes.latent_space_mnist [--limit N]
"""

import argparse

import numpy as np

import keras_vq
from keras_vq.metrics import compare_images
from keras_vq.plots import plot_traversal
from keras_vq.priors import GaussianMixturePrior
from recipes._classifier import classifier
from recipes._pictures import draw_side_by_side
from recipes.common import Stopwatch, results_folder, save

SEED = 0
COMPONENTS = 10
SAMPLES = 10_000
# Subset size of the kernel distance; limited by the number of images.
SUBSET_SIZE = 1000
# Index of the test image where the traversal starts.
IMAGE = 0
# A sample is clear if the classifier assigns one class more than this probability.
CLEAR = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    limit = parser.parse_args().limit
    stopwatch = Stopwatch()

    train = keras_vq.data.load("mnist", "train").take(limit).images
    test = keras_vq.data.load("mnist", "test").take(limit).images
    judge = classifier("mnist", limit)
    vae = keras_vq.VAE.from_preset("vae_mnist")
    n = min(SAMPLES, len(test))

    mixture = GaussianMixturePrior(COMPONENTS, SEED)
    mixture.fit(vae.sample_latents(train, seed=SEED))
    sets = {
        "VAE, standard normal": vae.generate(n, seed=SEED),
        f"VAE, mixture of {COMPONENTS} Gaussians": vae.generate(n, mixture, seed=SEED),
        "test images, reconstructed by the VAE": vae.reconstruct(test[:n]),
        "training images": train[:n],
    }
    figures = {}
    for name, images in sets.items():
        scores = compare_images(
            judge.feature_network, test[:n], images, subset_size=min(SUBSET_SIZE, n)
        )
        probabilities = judge.model.predict(images, batch_size=500, verbose=0)
        figures[name] = {
            "Fréchet distance (MNIST classifier)": scores["frechet_distance"],
            "kernel distance (MNIST classifier)": scores["kernel_distance"],
            "its deviation": scores["kernel_distance_deviation"],
            "precision (MNIST classifier)": scores["precision"],
            "recall (MNIST classifier)": scores["recall"],
            "clear digits, %": round(100 * float(np.mean(probabilities.max(axis=1) > CLEAR)), 2),
            "images": n,
            "the classifier's test accuracy": judge.test_accuracy,
        }

    latents = vae.encode(test)
    # Share of informative variance per latent: 0 for an unused latent, at most 1.
    spread = latents.std(axis=0)
    order = np.argsort(spread)[::-1].tolist()
    plot_traversal(
        vae.traverse(latents[IMAGE], order),
        order,
        filepath=results_folder() / "latent_space_mnist.png",
        title="VAE of MNIST: one latent moved, from a test image",
    )
    draw_side_by_side(
        {name: images[:100] for name, images in list(sets.items())[:2]},
        results_folder() / "latent_space_mnist_samples.png",
    )
    save("latent_space_mnist", figures, SEED, stopwatch)


if __name__ == "__main__":
    main()
