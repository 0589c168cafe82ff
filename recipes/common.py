"""Helpers that several recipes share.

- Data: `add_datasets`, `name_of_run`, `RandomBatches`.
- Training: `trained` and `kept_models` (cached models), `warmed_up_and_falling`, `StepSeconds`.
- Measures: `mean_squared_error`, `likeness`, `mean_of`.
- Results: `Stopwatch`, `results_folder`, `save`, and the formatting of tables.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_vq
from keras_vq.data.cache import cache_folder
from keras_vq.priors.autoregressive import AutoregressivePrior
from recipes import _machine

DATASETS = ("mnist", "cifar10")


def add_datasets(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--datasets` to a parser."""
    parser.add_argument(
        "--datasets", nargs="+", choices=DATASETS, default=DATASETS, help="default: both"
    )


def name_of_run(recipe: str, datasets: Sequence[str]) -> str:
    """Returns the results name; a run on one data set does not overwrite the results of both."""
    return recipe if set(datasets) == set(DATASETS) else "_".join([recipe, *datasets])


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


def mean_squared_error(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Computes the mean squared error; reconstructions are clipped to [0, 1]."""
    return float(np.square(images - np.clip(reconstructions, 0.0, 1.0), dtype="float64").mean())


def likeness(images: np.ndarray, reconstructions: np.ndarray) -> dict[str, float]:
    """Computes MSE, PSNR and SSIM of reconstructions, clipped to [0, 1]."""
    made = np.clip(reconstructions, 0.0, 1.0)
    return {
        "test MSE": mean_squared_error(images, made),
        "PSNR, dB": mean_of(keras_vq.metrics.PSNR(), images, made),
        "SSIM": mean_of(keras_vq.metrics.SSIM(), images, made),
    }


def mean_of(metric: keras.metrics.Metric, images: np.ndarray, made: np.ndarray) -> float:
    """Computes a metric of image pairs in batches of 500."""
    for start in range(0, len(images), 500):
        metric.update_state(images[start : start + 500], made[start : start + 500])
    return float(metric.result())


FOLDER = Path(__file__).parent / "results"


class Stopwatch:
    """Timer that starts when it is created."""

    def __init__(self) -> None:
        self.started = time.perf_counter()

    def seconds(self) -> float:
        return round(time.perf_counter() - self.started, 1)


def results_folder(usual: Path = FOLDER) -> Path:
    """Returns the results folder: `KERAS_VQ_RESULTS` if set, otherwise `usual`."""
    folder = Path(os.environ.get("KERAS_VQ_RESULTS", usual))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save(
    name: str,
    figures: dict[str, object],
    seed: int | None,
    stopwatch: Stopwatch,
    folder: Path = FOLDER,
) -> None:
    """Prints figures as a table and saves them with the command, seed, versions and duration.

    Args:
        name: String. Name of the recipe; the file is `NAME.json`.
        figures: Dictionary of figures by name, or of table rows, each a dictionary.
        seed: Integer seed, or None.
        stopwatch: `Stopwatch` started with the recipe.
        folder: Folder to write to if the environment variable `KERAS_VQ_RESULTS` is not set.
    """
    record = {
        "command": " ".join(["python", "-m", _module(), *sys.argv[1:]]),
        "figures": figures,
        "seed": seed,
        "seconds": stopwatch.seconds(),
        "backend": keras.backend.backend(),
        "versions": {"keras": keras.__version__, "keras_vq": keras_vq.__version__},
        "machine": _machine.described(),
    }
    path = results_folder(folder) / f"{name}.json"
    beside = path.with_suffix(".json.part")
    beside.write_text(json.dumps(record, indent=2) + "\n")
    beside.replace(path)

    console = Console()
    console.print(f"[bold]{record['command']}[/bold]")
    columns = columns_of(figures)
    if columns:
        for table in tables_that_fit(figures, columns, console):
            console.print(table)
    else:
        table = Table("figure", "value")
        for key, value in figures.items():
            table.add_row(key, shown(value, digits=6))
        console.print(table)
    console.print(f"{record['seconds']:.0f} s, seed {seed}, written to {path}")


def tables_that_fit(
    rows: dict[str, dict[str, object]], columns: list[str], console: Console
) -> list[Table]:
    """Splits a wide table into tables that fit the screen width."""
    # Row names may wrap anywhere, headings between words, figures never.
    widths = {"": min(max(map(len, rows)), console.width // 3)}
    for column in columns:
        cells = [shown(row.get(column)) for row in rows.values()]
        widths[column] = max(map(len, [*column.split(), *cells]))
    groups: list[list[str]] = [[]]
    for column in columns:
        # Padding on both sides of a cell, and the separators.
        needed = 1 + sum(3 + widths[name] for name in ("", *groups[-1], column))
        if groups[-1] and needed > console.width:
            groups.append([])
        groups[-1].append(column)
    return [_table(rows, {name: widths[name] for name in ("", *group)}) for group in groups]


def _table(rows: dict[str, dict[str, object]], widths: dict[str, int]) -> Table:
    table = Table()
    for column, width in widths.items():
        table.add_column(column, width=width, justify="right" if column else "left")
    for name, row in rows.items():
        table.add_row(name, *(shown(row.get(column)) for column in widths if column))
    return table


def columns_of(figures: dict[str, object]) -> list[str]:
    """Returns the columns of a table; empty if `figures` is not a table."""
    rows = [row for row in figures.values() if isinstance(row, dict)]
    return list(dict.fromkeys(column for row in rows for column in row))


def table_of_rows(
    rows: dict[str, dict[str, object]], columns: list[str], digits: int = 4
) -> list[str]:
    """Returns the lines of a Markdown table; cells of missing figures are empty."""
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for name, row in rows.items():
        cells = [shown(row.get(column), digits) for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def shown(value: object, digits: int = 4) -> str:
    """Formats a figure with `digits` significant digits; empty for None."""
    if value is None:
        return ""
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _module() -> str:
    """Returns the name of the running module, as for `python -m`."""
    path = Path(sys.argv[0])
    return path.parent.name if path.stem == "__main__" else f"{path.parent.name}.{path.stem}"
