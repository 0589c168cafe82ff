"""Training progress: a progress bar on terminals, else one line per epoch."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_UPDATES = 0.2


class TrainingProgress(keras.callbacks.Callback):
    """Callback that shows the epoch, the batch, the running loss and the time left.

    It is also a context manager, which removes the bar when `fit` ends or raises.

    Args:
        epochs: Integer. Total number of epochs.
        first_epoch: Integer. Number of epochs finished before.
        batches: Integer. Number of batches per epoch.
    """

    def __init__(self, epochs: int, first_epoch: int, batches: int) -> None:
        super().__init__()
        self.epochs = epochs
        self.first_epoch = first_epoch
        self.batches = batches
        self.console = Console(stderr=True)
        self._epoch = first_epoch
        self._updated = 0.0
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("batch {task.fields[batch]}/{task.fields[batches]}"),
            TextColumn("loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def __enter__(self) -> TrainingProgress:
        self._task = self._bar.add_task(
            "",
            total=self.epochs * self.batches,
            completed=self.first_epoch * self.batches,
            epoch=self.first_epoch + 1,
            epochs=self.epochs,
            batch=0,
            batches=self.batches,
            loss="-",
        )
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Stores the number of the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Updates the bar, at most every 0.2 seconds."""
        now = time.monotonic()
        # Reading the loss synchronizes with the accelerator, so not after every batch.
        if now - self._updated >= _SECONDS_BETWEEN_UPDATES and not self._bar.disable:
            self._updated = now
            self._show(batch + 1, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Updates the bar, or prints the loss and validation loss."""
        if not self._bar.disable:
            self._show(self.batches, logs)
            return
        terms = "  ".join(
            f"{name} {float(value):.4g}"
            for name, value in (logs or {}).items()
            if name in ("loss", "val_loss")
        )
        self.console.print(
            f"epoch {epoch + 1}/{self.epochs}  {terms}", highlight=False, soft_wrap=True
        )

    def _show(self, batch: int, logs: dict[str, Any] | None) -> None:
        self._bar.update(
            self._task,
            completed=self._epoch * self.batches + batch,
            epoch=self._epoch + 1,
            batch=batch,
            loss=f"{float((logs or {}).get('loss', 0.0)):.4g}",
        )
