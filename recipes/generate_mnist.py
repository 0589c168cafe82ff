"""New MNIST digits: a VQ-VAE learns codes, and three priors learn what codes go together.

The VQ-VAE is that of the example of keras.io (128 codes of 16 dimensions on a grid of 7 x 7, learnt
by gradient). Its training images are encoded once; PixelCNN, transformer and MaskGIT are fitted to
their codes, and a transformer to codes and labels. All draw new digits, which are measured against
the test images on features of a small classifier of MNIST of our own (`recipes/_classifier.py`;
not Inception, so it is no FID). The table tells for each prior what its codes cost, what its
digits are worth, and what drawing 1,000 of them takes, with and without what `generate` keeps of
earlier positions.

Trained models are kept in the cache folder, epoch by epoch: a run that was interrupted goes on.

Run: python -m recipes.generate_mnist [--vqvae-epochs 30] [--prior-epochs 30] [--limit N]
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vq
from keras_vq.data.cache import cache_folder
from keras_vq.metrics import compare_images
from keras_vq.priors import MaskedPrior, PixelCNNPrior, TransformerPrior, sample_codes
from keras_vq.priors.sampling import uniform_numbers
from recipes._classifier import Classifier, classifier
from recipes._pictures import draw_side_by_side
from recipes._results import Stopwatch, mean_squared_error, results_folder, save

SEED = 0
CODES = 128
LATENT_DIM = 16
BATCH_SIZE = 128
SAMPLES = 10_000
TIMED = 1000
# Positions of a naive loop are alike: so many images tell.
NAIVE = 256
GUIDANCE = 2.0
# A clear digit is one that the classifier gives more than this probability.
CLEAR = 0.9

PRIORS = {
    "PixelCNN": PixelCNNPrior,
    "transformer": TransformerPrior,
    "MaskGIT": MaskedPrior,
    "transformer, by label": TransformerPrior,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vqvae-epochs", type=int, default=30)
    parser.add_argument("--prior-epochs", type=int, default=30)
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    parser.add_argument("--only", choices=list(PRIORS), action="append", help="these priors only")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    train = keras_vq.data.load("mnist", "train").take(arguments.limit)
    test = keras_vq.data.load("mnist", "test").take(arguments.limit)
    judge = classifier("mnist", arguments.limit)
    folder = cache_folder() / "recipes" / f"generate_mnist_{arguments.limit}"

    def fit_vqvae(model: Any, **options: Any) -> None:
        model.fit(train.images, epochs=arguments.vqvae_epochs, **options)

    vqvae_file = folder / f"vqvae_{arguments.vqvae_epochs}.keras"
    vqvae, _ = trained(vqvae_file, new_vqvae, fit_vqvae)
    error = mean_squared_error(test.images, vqvae.reconstruct(test.images))
    print(f"VQ-VAE: test MSE {error:.5f}")

    table: dict[str, dict[str, object]] = {}
    pictures = {}
    for name in arguments.only or PRIORS:
        labels = (train.labels, test.labels) if "by label" in name else (None, None)
        options = {"num_classes": 10 if "by label" in name else None, "seed": SEED}

        def new_prior(name: str = name, options: dict[str, Any] = options) -> Any:
            return PRIORS[name].for_codes_of(vqvae, **options)

        def fit_prior(prior: Any, labels: Any = labels, **options: Any) -> None:
            validation = test.images if labels[1] is None else (test.images, labels[1])
            prior.fit_codes(
                vqvae,
                train.images,
                labels[0],
                validation_data=validation,
                epochs=arguments.prior_epochs,
                **options,
            )

        file = f"{name}_{arguments.prior_epochs}_of_{vqvae_file.stem}.keras".replace(" ", "_")
        prior, seconds = trained(folder / file, new_prior, fit_prior)
        codes = vqvae.encode_to_codes(test.images)
        bits = prior.bits_per_image(codes, labels[1])
        asked = None if labels[1] is None else np.arange(SAMPLES) % 10
        n = min(SAMPLES, len(test.images))
        how = {} if asked is None else {"labels": asked[:n], "guidance": GUIDANCE}
        images = vqvae.generate(prior, n, seed=SEED, **how)
        table[name] = {
            "parameters": prior.count_params(),
            "training, s": seconds,
            "validation nats a code": bits * np.log(2) / codes[0].size,
            "bits an image": bits,
            "bits a dimension, of the codes alone": bits / test.images[0].size,
            "test MSE of the VQ-VAE": error,
            **scores(judge, test.images[:n], images, asked),
            **speed(prior, min(TIMED, n)),
        }
        pictures[name] = images[:100]

    vae = keras_vq.VAE.from_preset("vae_mnist")
    images = vae.generate(min(SAMPLES, len(test.images)), seed=SEED)
    table["VAE, standard normal"] = scores(judge, test.images[: len(images)], images, None)
    pictures["VAE, standard normal"] = images[:100]
    draw_side_by_side(pictures, results_folder() / "generate_mnist.png")
    save("generate_mnist", table, SEED, stopwatch)


def new_vqvae() -> keras_vq.VQVAE:
    encoder, decoder = keras_vq.networks.convolutional(
        (28, 28, 1), filters=(32, 64), latent_dim=LATENT_DIM, output_activation=None
    )
    quantizer = keras_vq.VectorQuantizer(keras_vq.Codebook(CODES))
    return keras_vq.VQVAE(encoder, quantizer, decoder)


def trained(
    path: Path, build: Callable[[], Any], fit: Callable[..., None]
) -> tuple[Any, float | None]:
    """A model that was trained before, or is now; and the seconds that took, if it is known."""
    if path.exists():
        return keras.saving.load_model(path), None
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(SEED)
    model = build()
    model.compile(keras.optimizers.Adam(1e-3))
    started = time.perf_counter()
    go_on = keras.callbacks.BackupAndRestore(str(path.with_suffix(".backup")))
    fit(model, batch_size=BATCH_SIZE, callbacks=[go_on], verbose=2)
    seconds = round(time.perf_counter() - started, 1)
    beside = path.with_suffix(".part.keras")
    model.save(beside)
    beside.replace(path)
    return model, seconds


def scores(
    judge: Classifier, real: np.ndarray, images: np.ndarray, asked: np.ndarray | None
) -> dict[str, object]:
    """What digits are worth, by features and answers of the classifier."""
    found = compare_images(judge.feature_network, real, images, subset_size=min(1000, len(real)))
    answers = judge.model.predict(images, batch_size=500, verbose=0)
    clear = 100 * float(np.mean(answers.max(axis=1) > CLEAR))
    row: dict[str, object] = {
        "Fréchet distance on our MNIST classifier": found["frechet_distance"],
        "precision on our MNIST classifier": found["precision"],
        "recall on our MNIST classifier": found["recall"],
        "clear digits, %": clear,
    }
    if asked is not None:
        is_right = answers.argmax(axis=1) == asked[: len(images)]
        row["labelled as asked, %"] = 100 * float(np.mean(is_right))
    return row


def speed(prior: Any, n: int) -> dict[str, object]:
    """Seconds that codes of n images take, once compiled; and the naive loop's, for as many."""
    prior.generate(n, seed=SEED)
    started = time.perf_counter()
    codes = prior.generate(n, seed=SEED)
    seconds = time.perf_counter() - started
    row: dict[str, object] = {"images drawn": n, "seconds": seconds, "images/s": n / seconds}
    if isinstance(prior, MaskedPrior):
        return row
    few = min(n, NAIVE)
    naive_codes(prior, few, positions=1)
    started = time.perf_counter()
    naive = naive_codes(prior, few)
    of_naive = time.perf_counter() - started
    row["times as fast as the naive loop"] = (of_naive / few) / (seconds / n)
    row["codes equal to the naive loop's, %"] = 100 * float(np.mean(naive == codes[:few]))
    return row


def naive_codes(prior: Any, n: int, positions: int | None = None) -> np.ndarray:
    """Codes of the same seed, by a whole pass for every position."""
    draws = uniform_numbers(SEED, (n, *prior.draws_shape()))
    codes = np.zeros((n, prior.positions), "int32")
    for position in range(positions or prior.positions):
        inputs = prior.as_inputs(codes.reshape(n, *prior.code_shape))
        (logits,) = prior.predict(inputs, batch_size=n, verbose=0)["logits"]
        codes[:, position] = keras.ops.convert_to_numpy(
            sample_codes(logits[:, position], draws[:, position, 0])
        )
    return codes.reshape(n, *prior.code_shape)


if __name__ == "__main__":
    main()
