"""Training checkpoints: the model and its training history in one atomically replaced file.

`model.keras` is an ordinary Keras file with one additional member, `training.json`, which holds the
history. The number of finished epochs is the length of the history, so it always matches the
weights, also after a killed process. `history.csv` is a copy, which is rewritten when a run is
resumed. The model saves the states of its random seed generators itself.
"""

from __future__ import annotations

import json
import math
import time
import zipfile
from pathlib import Path
from typing import Any

import keras

import keras_vq
from keras_vq.models import NonFiniteLossError
from keras_vq_cli import interrupts
from keras_vq_cli.files import whole_file, write_text
from keras_vq_cli.runs import HISTORY_MEMBER, History, read_history


def save(model: keras.Model, history: History, path: Path) -> None:
    """Saves a model and its training history to one file."""
    with whole_file(path) as beside:
        model.save(beside)
        with zipfile.ZipFile(beside, "a") as archive:
            archive.writestr(HISTORY_MEMBER, json.dumps({"history": history}))


def load(path: Path) -> tuple[keras.Model, History]:
    """Loads a model and its history from a file of `save`, ready to continue training.

    Raises:
        ValueError: If the file is corrupt or was not written by `save`.
    """
    model = keras_vq.load_model(path)
    return model, read_history(path)


def finished_epochs(path: Path) -> int:
    """Returns the number of epochs in the history of a checkpoint, 0 if there is no file."""
    return len(read_history(path)) if path.exists() else 0


def write_history(history: History, path: Path) -> None:
    """Writes the history as a CSV file with one row per epoch."""
    lines = [",".join(history[0])] if history else []
    lines += [",".join(f"{value:.7g}" for value in row.values()) for row in history]
    write_text(path, "".join(f"{line}\n" for line in lines))


class SaveEpochs(keras.callbacks.Callback):
    """Saves the model and its history after every epoch.

    Args:
        folder: Path. Run folder.
        history: List of dicts, one per finished epoch. The callback appends to it.
        patience: Integer. Number of epochs without improvement after which training ends. Defaults
            to `None`, for no early end.
    """

    def __init__(self, folder: Path, history: History, patience: int | None = None) -> None:
        super().__init__()
        self.folder = folder
        self.history = history
        self.patience = patience

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Stores the start time of the epoch."""
        self._started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Raises KeyboardInterrupt after Ctrl-C."""
        interrupts.check()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the checkpoint and `history.csv`.

        Raises:
            NonFiniteLossError: If a loss or metric is NaN or infinite; nothing is saved then.
        """
        terms = loss_first(logs or {})
        # The model checks the training loss only; NaN weights of the last step show in val_loss.
        spoilt = {name: value for name, value in terms.items() if not math.isfinite(value)}
        if spoilt:
            raise NonFiniteLossError(f"The loss is NaN or infinite. Received: {spoilt}")
        seconds = time.monotonic() - self._started
        self.history.append({"epoch": epoch + 1, **terms, "seconds": seconds})
        save(self.model, self.history, self.folder / "model.keras")
        write_history(self.history, self.folder / "history.csv")
        if stops_early(self.history, self.patience):
            self.model.stop_training = True


def stops_early(history: History, patience: int | None) -> bool:
    """Returns true if the validation loss was lowest at least `patience` epochs ago."""
    losses = [row["val_loss"] for row in history]
    if not losses or patience is None:
        return False
    return len(losses) - 1 - losses.index(min(losses)) >= patience


def loss_first(logs: dict[str, Any]) -> dict[str, float]:
    """Returns logs as floats in display order: the loss, its terms, other metrics, validation."""

    def place(name: str) -> tuple[bool, bool, bool]:
        plain = name.removeprefix("val_")
        return (plain != name, plain != "loss", not plain.endswith("_loss"))

    return {name: float(logs[name]) for name in sorted(logs, key=place)}
