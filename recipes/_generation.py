"""Helpers of the generation recipes: training priors, evaluating and timing samples."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vq
from keras_vq._fingerprint import fingerprint
from keras_vq.data import ImageDataset
from keras_vq.metrics import compare_images
from keras_vq.priors import CodePrior, MaskedPrior, sample_codes
from keras_vq.priors.sampling import uniform_numbers
from recipes._classifier import Classifier
from recipes.common import mean_squared_error, trained, warmed_up_and_falling

BATCH_SIZE = 128
LEARNING_RATE = 2e-3
SAMPLES = 10_000
GUIDANCE = 2.0
TIMED = 1000
# All positions of the naive loop cost the same, so few images are enough.
NAIVE = 256
ROUNDS = 3
# A sample is clear if the classifier assigns one class more than this probability.
CLEAR = 0.9


def fitted_prior(
    path: Path,
    build: Callable[..., CodePrior],
    vqvae: keras_vq.VQVAE,
    train: ImageDataset,
    test: ImageDataset,
    by_label: bool,
    epochs: int,
    seed: int,
) -> tuple[CodePrior, float]:
    """Loads or trains a prior; returns it and its training time in seconds.

    Args:
        path: See `trained`.
        build: Function of the VQ-VAE, `num_classes` and `seed` that builds the prior.
        vqvae: Trained `VQVAE`.
        train: Training images.
        test: Test images.
        by_label: Boolean. Whether the prior is conditioned on labels.
        epochs: Integer. Number of epochs.
        seed: Integer. Seed of training.
    """
    options = {"num_classes": len(test.class_names) if by_label else None, "seed": seed}
    labels = (train.labels, test.labels) if by_label else (None, None)

    def new_prior() -> CodePrior:
        return build(vqvae, **options)

    def fit(prior: CodePrior, **options: Any) -> None:
        validation = (test.images, labels[1]) if by_label else test.images
        options = {"batch_size": BATCH_SIZE, "epochs": epochs, **options}
        prior.fit_codes(vqvae, train.images, labels[0], validation, **options)

    steps = epochs * math.ceil(len(train.images) / BATCH_SIZE)
    adam = keras.optimizers.Adam(warmed_up_and_falling(LEARNING_RATE, steps))
    return trained(path, new_prior, fit, adam, seed, data=fingerprint(vqvae))


def measured(
    prior: CodePrior, vqvae: keras_vq.VQVAE, test: ImageDataset, judge: Classifier, seed: int
) -> tuple[dict[str, object], np.ndarray]:
    """Evaluates the likelihood of test codes and the quality of as many samples as test images.

    Args:
        prior: The prior. A class-conditional prior samples all labels equally often.
        vqvae: Trained `VQVAE`.
        test: Test images.
        judge: Classifier of the data set.
        seed: Integer. Seed of sampling.

    Returns:
        Dictionary of figures, and the samples.
    """
    by_label = prior.num_classes is not None
    codes = vqvae.encode(test.images)
    bits = prior.bits_per_input(codes, test.labels if by_label else None)
    n = min(SAMPLES, len(test.images))
    asked = np.arange(n) % prior.num_classes if by_label else None
    how = {"labels": asked, "guidance": GUIDANCE} if by_label else {}
    images = vqvae.generate(n, prior, seed=seed, **how)
    row = {
        "validation nats per code": bits * np.log(2) / codes[0].size,
        "bits per image": bits,
        "bits per dimension (codes only)": bits / test.images[0].size,
        "test MSE of the VQ-VAE": mean_squared_error(test.images, vqvae.reconstruct(test.images)),
        **scores(judge, test.name, test.images[:n], images, asked),
        **speed(prior, n, seed),
    }
    return row, images


def scores(
    judge: Classifier, name: str, real: np.ndarray, images: np.ndarray, asked: np.ndarray | None
) -> dict[str, object]:
    """Evaluates generated images with the features and predictions of a classifier.

    Args:
        judge: The classifier.
        name: Name of the data set.
        real: Test images.
        images: Generated images, as many as `real`.
        asked: Requested labels of the generated images, or None.
    """
    images = images.clip(0.0, 1.0)
    found = compare_images(judge.feature_network, real, images, subset_size=min(1000, len(real)))
    answers = judge.model.predict(images, batch_size=500, verbose=0)
    clear = 100 * float(np.mean(answers.max(axis=1) > CLEAR))
    row: dict[str, object] = {
        f"Fréchet distance ({name} classifier)": found["frechet_distance"],
        f"precision ({name} classifier)": found["precision"],
        f"recall ({name} classifier)": found["recall"],
        "clear images, %": clear,
    }
    if asked is not None:
        is_right = answers.argmax(axis=1) == asked[: len(images)]
        row["class accuracy, %"] = 100 * float(np.mean(is_right))
    return row


def speed(prior: Any, n: int, seed: int) -> dict[str, object]:
    """Times sampling of up to 1,000 images, compiled, against the naive loop.

    Reports medians of three alternating rounds; one round if there are fewer images.
    """
    rounds = ROUNDS if n >= TIMED else 1
    n = min(n, TIMED)
    few = min(n, NAIVE)
    # A masked prior has no naive loop: it does not sample position by position.
    has_loop = not isinstance(prior, MaskedPrior)
    prior.generate(n, seed=seed)
    if has_loop:
        naive_codes(prior, few, seed, positions=1)
    times, naive_times = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        codes = prior.generate(n, seed=seed)
        times.append(time.perf_counter() - started)
        if has_loop:
            started = time.perf_counter()
            naive = naive_codes(prior, few, seed)
            naive_times.append(time.perf_counter() - started)
    seconds = float(np.median(times))
    row: dict[str, object] = {"images drawn": n, "seconds": seconds, "images/s": n / seconds}
    if has_loop:
        row["speed-up over the naive loop"] = (np.median(naive_times) / few) / (seconds / n)
        row["codes equal to the naive loop's, %"] = 100 * float(np.mean(naive == codes[:few]))
    return row


def naive_codes(prior: Any, n: int, seed: int, positions: int | None = None) -> np.ndarray:
    """Samples the same codes with a full forward pass for every position."""
    draws = uniform_numbers(seed, (n, *prior._uniforms_shape()))
    codes = np.zeros((n, prior._positions), "int32")
    for position in range(positions or prior._positions):
        inputs = prior.as_inputs(codes.reshape(n, *prior.code_shape))
        (logits,) = prior.predict(inputs, batch_size=n, verbose=0)["logits"]
        codes[:, position] = keras.ops.convert_to_numpy(
            sample_codes(logits[:, position], draws[:, position, 0])
        )
    return codes.reshape(n, *prior.code_shape)
