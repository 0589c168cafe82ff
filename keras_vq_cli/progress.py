"""The progress of a fit: a live bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_UPDATES = 0.2


class TrainingProgress(keras.callbacks.Callback):
    """Shows epoch and batch, the loss so far and the time left.

    A context manager, so that the bar is taken down however `fit` ends.

    Args:
        epochs: Epochs at the end of training.
        first_epoch: Epochs that are done already.
        batches: Batches of an epoch.
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
        """Notes which epoch begins."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves the bar."""
        now = time.monotonic()
        # Reading the loss waits for the accelerator, so not after every batch.
        if now - self._updated >= _SECONDS_BETWEEN_UPDATES and not self._bar.disable:
            self._updated = now
            self._show(batch + 1, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows the figures of the epoch."""
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
