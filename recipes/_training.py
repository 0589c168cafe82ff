"""Training helpers of recipes: cached models, equal batches, training time."""

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
    """Loads a cached model or trains it; returns it and its training time in seconds.

    Args:
        path: File of the trained model. A digest of the settings is added to its name, so that
            changed settings never load a stale model. A checkpoint is stored next to it after
            every epoch.
        build: Function that builds the model.
        fit: Function of the model and options of `fit` that trains it.
        optimizer: New optimizer.
        seed: Integer. Random seed of Keras.
        data: Digest of how the training data is made, if it is more than a data set.
    """
    keras.utils.set_random_seed(seed)
    model = build()
    path = path.with_stem(f"{path.stem}_{digest_of(model, optimizer, seed, data.hex())}")
    clock = path.with_suffix(".json")
    if path.exists():
        return keras.saving.load_model(path), seconds_in(clock)
    path.parent.mkdir(parents=True, exist_ok=True)
    # XLA makes training 20 % faster on TensorFlow; Keras does not enable it on CPUs by default.
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
    """Returns an eight-character digest of models, optimizers and values on this backend."""
    kept = [keras.saving.serialize_keras_object(setting) for setting in settings]
    text = json.dumps([keras.backend.backend(), *kept], sort_keys=True)
    # Keras numbers layers per process: treat "dense_3" as "dense".
    return hashlib.sha256(re.sub(r'_\d+(?=")', "", text).encode()).hexdigest()[:8]


def kept_models(recipe: str, limit: int) -> Path:
    """Returns the cache folder of models trained on the first `limit` images."""
    return cache_folder() / "recipes" / f"{recipe}_{limit}"


class Seconds(keras.callbacks.Callback):
    """Callback that accumulates the training time in a file across interrupted runs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        before = seconds_in(self.path) if epoch > 0 else 0.0
        self.path.write_text(json.dumps({"seconds": before + time.perf_counter() - self.began}))


def seconds_in(path: Path) -> float:
    """Reads the training time that `Seconds` stored in a file."""
    return json.loads(path.read_text())["seconds"] if path.exists() else 0.0


class StepSeconds(keras.callbacks.Callback):
    """Callback that records the duration of each training step."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.seconds.append(time.perf_counter() - self.began)


class RandomBatches(keras.utils.PyDataset):
    """Random batches that are identical for all models with the same seed.

    Args:
        images: Array of images.
        steps: Integer. Number of batches.
        batch_size: Integer. Number of images per batch.
        seed: Integer. Seed of the random selection.
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
    """Returns a schedule with linear warmup over 5 % of the steps, then decay to zero.

    A few epochs with this schedule reach the loss of many epochs at a constant rate.
    """
    rising = max(1, steps // 20)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - rising), warmup_target=learning_rate, warmup_steps=rising
    )
