"""A model and how far its training has come, in one file that changes in one rename.

`model.keras` is an ordinary file of Keras with one more member, `training.json`, the history so
far. The number of finished epochs is the length of that history, so it can't disagree with the
weights, wherever a process is killed. `history.csv` is written from it afterwards, and anew when a
run is resumed. The states of the random generators are saved by the model itself.
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

History = list[dict[str, float]]
_MEMBER = "training.json"
_MOST_BYTES = 16 * 2**20


def save(model: keras.Model, history: History, path: Path) -> None:
    """Writes a model and its history."""
    with whole_file(path) as beside:
        model.save(beside)
        with zipfile.ZipFile(beside, "a") as archive:
            archive.writestr(_MEMBER, json.dumps({"history": history}))


def load(path: Path) -> tuple[keras.Model, History]:
    """The model and the history that `save` wrote; the model goes on as if it had never stopped.

    Raises:
        ValueError: If the file is damaged or was not written by `save`.
    """
    model = keras_vq.load_model(path)
    return model, _read_history(path)


def finished_epochs(path: Path) -> int:
    """How many epochs the model of a file was trained for; 0 where there is no file."""
    return len(_read_history(path)) if path.exists() else 0


def write_history(history: History, path: Path) -> None:
    """Writes the history as a table, one line an epoch."""
    lines = [",".join(history[0])] if history else []
    lines += [",".join(f"{value:.7g}" for value in row.values()) for row in history]
    write_text(path, "".join(f"{line}\n" for line in lines))


class SaveEpochs(keras.callbacks.Callback):
    """Saves the model and its history after every epoch.

    Args:
        folder: The run's folder.
        history: History so far; the epochs to come are added.
    """

    def __init__(self, folder: Path, history: History) -> None:
        super().__init__()
        self.folder = folder
        self.history = history

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the time."""
        self._started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stops if that was asked for."""
        interrupts.check()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves, unless the weights are spoilt."""
        terms = loss_first(logs or {})
        # The model looks at the training loss; the last step of an epoch shows only in these.
        spoilt = {name: value for name, value in terms.items() if not math.isfinite(value)}
        if spoilt:
            raise NonFiniteLossError(f"The loss is no longer finite. Received: {spoilt}")
        seconds = time.monotonic() - self._started
        self.history.append({"epoch": epoch + 1, **terms, "seconds": seconds})
        save(self.model, self.history, self.folder / "model.keras")
        write_history(self.history, self.folder / "history.csv")


def loss_first(logs: dict[str, Any]) -> dict[str, float]:
    """Logs as numbers in the order in which one reads them: the loss, its terms, the rest."""

    def place(name: str) -> tuple[bool, bool, bool]:
        plain = name.removeprefix("val_")
        return (plain != name, plain != "loss", not plain.endswith("_loss"))

    return {name: float(logs[name]) for name in sorted(logs, key=place)}


def _read_history(path: Path) -> History:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_MEMBER).file_size > _MOST_BYTES:
                raise ValueError
            history = json.loads(archive.read(_MEMBER))["history"]
        for row in history:
            if set(row) != {"epoch", "seconds", *history[0]}:
                raise ValueError
            sum(row.values())  # numbers
        return history
    # No such member or entry, no numbers, damage.
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RecursionError,
        zipfile.BadZipFile,
    ) as error:
        raise ValueError(
            f"{path} was not written by keras-vq train: it holds no {_MEMBER}, which says how "
            "far training has come"
        ) from error
