"""What recipes that generate images share: training that goes on, and what samples are worth."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vq
from keras_vq.data import ImageDataset
from keras_vq.metrics import compare_images
from keras_vq.priors import CodePrior, MaskedPrior, sample_codes
from keras_vq.priors.sampling import uniform_numbers
from recipes._classifier import Classifier
from recipes._results import mean_squared_error

BATCH_SIZE = 128
LEARNING_RATE = 2e-3
SAMPLES = 10_000
GUIDANCE = 2.0
TIMED = 1000
# Positions of a naive loop are alike: so many images tell.
NAIVE = 256
# A clear image is one that the classifier gives more than this probability to one class.
CLEAR = 0.9


class Seconds(keras.callbacks.Callback):
    """Keeps, in a file, the seconds that all epochs have taken, of earlier runs too."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        before = seconds_in(self.path) if epoch > 0 else 0.0
        self.path.write_text(json.dumps({"seconds": before + time.perf_counter() - self.began}))


def seconds_in(path: Path) -> float:
    """The seconds that `Seconds` has kept in a file."""
    return json.loads(path.read_text())["seconds"] if path.exists() else 0.0


def trained(
    path: Path,
    build: Callable[[], Any],
    fit: Callable[..., object],
    learning_rate: Any,
    seed: int,
) -> tuple[Any, float]:
    """A model that was trained before, or is now; and the seconds that its training took.

    Args:
        path: File of the trained model; what was reached is kept beside it after every epoch.
        build: Makes the model.
        fit: Trains it: takes the model, and options of `fit`.
        learning_rate: That of Adam: a number or a schedule.
        seed: Keras's random seed.
    """
    clock = path.with_suffix(".json")
    if path.exists():
        return keras.saving.load_model(path), seconds_in(clock)
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(seed)
    model = build()
    model.compile(keras.optimizers.Adam(learning_rate))
    go_on = keras.callbacks.BackupAndRestore(str(path.with_suffix(".backup")))
    fit(model, callbacks=[go_on, Seconds(clock)], verbose=2)
    beside = path.with_suffix(".part.keras")
    model.save(beside)
    beside.replace(path)
    return model, seconds_in(clock)


def warmed_up_and_falling(learning_rate: float, steps: int) -> Any:
    """A learning rate that rises for a twentieth of the steps, and falls to nothing in the rest.

    So a few epochs reach what many at one rate do.
    """
    rising = max(1, steps // 20)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - rising), warmup_target=learning_rate, warmup_steps=rising
    )


def measured_prior(
    path: Path,
    build: Callable[..., CodePrior],
    vqvae: keras_vq.VQVAE,
    train: ImageDataset,
    test: ImageDataset,
    judge: Classifier,
    by_label: bool,
    epochs: int,
    seed: int,
) -> tuple[dict[str, object], np.ndarray]:
    """Fits a prior to the codes of training images, and draws as many images as there are tests.

    Args:
        path: See `trained`.
        build: Class of the prior.
        vqvae: The model of the codes.
        train: Training images.
        test: Test images.
        judge: Classifier of the data set.
        by_label: Whether the prior is told labels; the images are then of all in turn.
        epochs: Passes through the training images.
        seed: Seed of training and of the draw.

    Returns:
        A row of figures, and the images.
    """
    classes = len(test.class_names)
    options = {"num_classes": classes if by_label else None, "seed": seed}
    labels = (train.labels, test.labels) if by_label else (None, None)

    def fit(prior: CodePrior, **options: Any) -> None:
        validation = (test.images, labels[1]) if by_label else test.images
        options = {"batch_size": BATCH_SIZE, "epochs": epochs, **options}
        prior.fit_codes(vqvae, train.images, labels[0], validation, **options)

    def new_prior() -> CodePrior:
        return build.for_codes_of(vqvae, **options)

    steps = epochs * math.ceil(len(train.images) / BATCH_SIZE)
    rate = warmed_up_and_falling(LEARNING_RATE, steps)
    prior, seconds = trained(path, new_prior, fit, rate, seed)
    codes = vqvae.encode_to_codes(test.images)
    bits = prior.bits_per_image(codes, labels[1])
    n = min(SAMPLES, len(test.images))
    asked = np.arange(n) % classes if by_label else None
    how = {"labels": asked, "guidance": GUIDANCE} if by_label else {}
    images = vqvae.generate(prior, n, seed=seed, **how)
    error = mean_squared_error(test.images, vqvae.reconstruct(test.images))
    row = {
        "parameters": prior.count_params(),
        "training, s": seconds,
        "epochs": epochs,
        "validation nats a code": bits * np.log(2) / codes[0].size,
        "bits an image": bits,
        "bits a dimension, of the codes alone": bits / test.images[0].size,
        "test MSE of the VQ-VAE": error,
        **scores(judge, test.name, test.images[:n], images, asked),
        **speed(prior, n, seed),
    }
    return row, images


def scores(
    judge: Classifier, name: str, real: np.ndarray, images: np.ndarray, asked: np.ndarray | None
) -> dict[str, object]:
    """What images are worth, by features and answers of the classifier of a data set.

    Args:
        judge: The classifier.
        name: What to call its data set.
        real: Test images.
        images: As many generated ones.
        asked: The labels that they were to have, or None.
    """
    found = compare_images(judge.feature_network, real, images, subset_size=min(1000, len(real)))
    answers = judge.model.predict(images, batch_size=500, verbose=0)
    clear = 100 * float(np.mean(answers.max(axis=1) > CLEAR))
    row: dict[str, object] = {
        f"Fréchet distance on our {name} classifier": found["frechet_distance"],
        f"precision on our {name} classifier": found["precision"],
        f"recall on our {name} classifier": found["recall"],
        "clear images, %": clear,
    }
    if asked is not None:
        is_right = answers.argmax(axis=1) == asked[: len(images)]
        row["labelled as asked, %"] = 100 * float(np.mean(is_right))
    return row


def speed(prior: Any, n: int, seed: int) -> dict[str, object]:
    """Seconds that codes of up to 1,000 images take, once compiled, beside the naive loop."""
    n = min(n, TIMED)
    prior.generate(n, seed=seed)
    started = time.perf_counter()
    codes = prior.generate(n, seed=seed)
    seconds = time.perf_counter() - started
    row: dict[str, object] = {"images drawn": n, "seconds": seconds, "images/s": n / seconds}
    if isinstance(prior, MaskedPrior):
        return row
    few = min(n, NAIVE)
    naive_codes(prior, few, seed, positions=1)
    started = time.perf_counter()
    naive = naive_codes(prior, few, seed)
    of_naive = time.perf_counter() - started
    row["times as fast as the naive loop"] = (of_naive / few) / (seconds / n)
    row["codes equal to the naive loop's, %"] = 100 * float(np.mean(naive == codes[:few]))
    return row


def naive_codes(prior: Any, n: int, seed: int, positions: int | None = None) -> np.ndarray:
    """Codes of the same seed, by a whole pass for every position."""
    draws = uniform_numbers(seed, (n, *prior.draws_shape()))
    codes = np.zeros((n, prior.positions), "int32")
    for position in range(positions or prior.positions):
        inputs = prior.as_inputs(codes.reshape(n, *prior.code_shape))
        (logits,) = prior.predict(inputs, batch_size=n, verbose=0)["logits"]
        codes[:, position] = keras.ops.convert_to_numpy(
            sample_codes(logits[:, position], draws[:, position, 0])
        )
    return codes.reshape(n, *prior.code_shape)
