"""How recipes train: models that are kept, batches that are equal, seconds that are counted."""

import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vq.data.cache import cache_folder
from keras_vq.priors.autoregressive import AutoregressivePrior


def trained(
    path: Path,
    build: Callable[[], Any],
    fit: Callable[..., object],
    optimizer: keras.optimizers.Optimizer,
    seed: int,
    data: bytes = b"",
) -> tuple[Any, float]:
    """A model that was trained before, or is now; and the seconds that its training took.

    Args:
        path: File of the trained model; to its name comes a digest of the settings, so that a
            model of others is not taken for it. What was reached is kept beside it after every
            epoch.
        build: Makes the model.
        fit: Trains it: takes the model, and options of `fit`.
        optimizer: A new optimizer.
        seed: Keras's random seed.
        data: A digest of what the training data is made with, if not of the data set alone.
    """
    keras.utils.set_random_seed(seed)
    model = build()
    path = path.with_stem(f"{path.stem}_{digest_of(model, optimizer, seed, data.hex())}")
    clock = path.with_suffix(".json")
    if path.exists():
        return keras.saving.load_model(path), seconds_in(clock)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A fifth faster on TensorFlow, where Keras leaves it out on processors.
    fast = keras.backend.backend() == "tensorflow" and isinstance(model, AutoregressivePrior)
    model.compile(optimizer, jit_compile=True if fast else "auto")
    go_on = keras.callbacks.BackupAndRestore(
        str(path.with_suffix(".backup")), double_checkpoint=True
    )
    fit(model, callbacks=[go_on, Seconds(clock)], verbose=2)
    beside = path.with_suffix(".part.keras")
    model.save(beside)
    beside.replace(path)
    return model, seconds_in(clock)


def digest_of(*settings: Any) -> str:
    """Eight letters of a digest of models, optimizers and plain values, on this backend."""
    kept = [keras.saving.serialize_keras_object(setting) for setting in settings]
    text = json.dumps([keras.backend.backend(), *kept], sort_keys=True)
    # Keras numbers layers as a process makes them: "dense_3" is "dense".
    return hashlib.sha256(re.sub(r'_\d+(?=")', "", text).encode()).hexdigest()[:8]


def kept_models(recipe: str, limit: int) -> Path:
    """The folder where a recipe keeps what it has trained on the first `limit` images."""
    return cache_folder() / "recipes" / f"{recipe}_{limit}"


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


class StepSeconds(keras.callbacks.Callback):
    """Seconds of each training step."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.seconds.append(time.perf_counter() - self.began)


class RandomBatches(keras.utils.PyDataset):
    """Images drawn at random, the same ones for every model of a seed.

    Args:
        images: Array of images.
        steps: Number of batches.
        batch_size: Images of a batch.
        seed: Seed of the draw.
    """

    def __init__(self, images: np.ndarray, steps: int, batch_size: int, seed: int) -> None:
        super().__init__()
        self.images = images
        self.order = np.random.default_rng(seed).integers(0, len(images), (steps, batch_size))

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, step: int) -> tuple[np.ndarray]:
        return (self.images[self.order[step]],)


def warmed_up_and_falling(learning_rate: float, steps: int) -> Any:
    """A learning rate that rises for a twentieth of the steps, and falls to nothing in the rest.

    So a few epochs reach what many at one rate do.
    """
    rising = max(1, steps // 20)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - rising), warmup_target=learning_rate, warmup_steps=rising
    )
