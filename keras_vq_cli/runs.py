"""Run folders: the configuration `config.yaml` and the record `run.json`."""

from __future__ import annotations

import json
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from keras_vq_cli import configuration, files
from keras_vq_cli.session import BACKENDS

CONFIG = "config.yaml"
RECORD = "run.json"
MODEL = "model.keras"
METRICS = "metrics.json"
HISTORY_MEMBER = "training.json"
_MOST_BYTES = 16 * 2**20

History = list[dict[str, float]]


class Run(NamedTuple):
    """Content of a run folder.

    Args:
        folder: Path.
        config: Dictionary. Its configuration.
        record: Dictionary. Its record; see `read_record`.
        history: List of dictionaries, one per completed epoch.
        metrics: Dictionary of test metrics, empty before the end of the run.
    """

    folder: Path
    config: configuration.Config
    record: dict[str, Any]
    history: History
    metrics: dict[str, Any]

    @property
    def model(self) -> str:
        """Type of the model, or the model from which training started."""
        source = self.config.get("training", {}).get("init_from")
        kind = self.config.get("model", {}).get("type", "")
        return kind if source is None else f"from {Path(source).name}"

    @property
    def epochs(self) -> int:
        """Number of epochs that the configuration requests."""
        return self.config.get("training", {}).get("epochs") or 0

    @property
    def state(self) -> str:
        """One of "running", "finished" and "interrupted"."""
        if files.is_locked(self.folder):
            return "running"
        is_finished = bool(self.history) and self.metrics.get("epochs") == len(self.history)
        return "finished" if is_finished else "interrupted"

    @property
    def changed(self) -> datetime:
        """Local time of the last completed epoch, or of the start."""
        path = self.folder / MODEL
        path = path if path.exists() else self.folder / CONFIG
        return datetime.fromtimestamp(path.stat().st_mtime).astimezone()


def read(folder: Path) -> Run:
    """Reads a run folder.

    Raises:
        ValueError: If it is not a run folder, or a file is damaged.
    """
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"RUN must be a run folder of keras-vq train. Received: {files.shown(folder)}, which "
            + (f"has no {CONFIG}" if folder.is_dir() else "is not a folder")
        )
    model, metrics = folder / MODEL, folder / METRICS
    found = files.read_json(metrics) if metrics.exists() else {}
    if not isinstance(found, dict):
        raise ValueError(f"{metrics} must be a dictionary of metrics. Received: {found!r:.80}")
    return Run(
        folder,
        read_config(folder),
        read_record(folder),
        read_history(model) if model.exists() else [],
        found,
    )


def folders(parent: Path) -> list[Path]:
    """Returns the run folders in a folder and its subfolders, at most two levels deep."""
    patterns = (CONFIG, f"*/{CONFIG}", f"*/*/{CONFIG}")
    return [path.parent for pattern in patterns for path in sorted(parent.glob(pattern))]


def read_config(folder: Path) -> configuration.Config:
    """Reads the configuration of a run.

    Raises:
        ValueError: If the file is not a valid configuration.
    """
    path = folder / CONFIG
    config = files.read_yaml(path)
    try:
        configuration.check(config)
        if config.get("backend") not in BACKENDS:
            raise ValueError("The backend is missing.")
    except ValueError as error:
        raise ValueError(
            f"{path} must be a configuration written by keras-vq train. Restore it from a backup, "
            f"or start a new run. {str(error)[:300]}"
        ) from error
    return config


def read_record(folder: Path) -> dict[str, Any]:
    """Reads the record of a run: its images, versions and commands.

    Raises:
        ValueError: If the file is not a valid record.
    """
    path = folder / RECORD
    record = files.read_json(path)
    kinds = {"command": str, "resumed_by": list, "image_shape": list, "train_images": int}
    if not isinstance(record, dict) or any(
        not isinstance(record.get(name), kind) for name, kind in kinds.items()
    ):
        raise ValueError(
            f"{path} must be a record written by keras-vq train. Restore it from a backup, or "
            "start a new run."
        )
    return record


def read_history(path: Path) -> History:
    """Reads the training history from a checkpoint of `keras-vq train`, without loading the model.

    Raises:
        ValueError: If the file is corrupt or was not written by `keras-vq train`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(HISTORY_MEMBER).file_size > _MOST_BYTES:
                raise ValueError
            history = json.loads(archive.read(HISTORY_MEMBER))["history"]
        for row in history:
            if set(row) != {"epoch", "seconds", *history[0]}:
                raise ValueError
            sum(row.values())  # raises TypeError unless all values are numbers
        return history
    # A missing member or key, values that are not numbers, or a corrupt file.
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RecursionError,
        zipfile.BadZipFile,
    ) as error:
        raise ValueError(
            f"{path} must be a checkpoint of keras-vq train. Received: a file without a valid "
            f"{HISTORY_MEMBER}, the training history"
        ) from error
