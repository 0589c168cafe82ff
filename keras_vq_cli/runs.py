"""Run folders: the configuration `config.yaml` and the record `run.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_vq_cli import configuration, files
from keras_vq_cli.session import BACKENDS

CONFIG = "config.yaml"
RECORD = "run.json"


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
