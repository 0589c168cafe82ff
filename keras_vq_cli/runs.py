"""Configuration of run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_vq_cli import files
from keras_vq_cli.session import BACKENDS
from keras_vq_cli.settings import Settings, option_of


def read_config(folder: Path) -> dict[str, Any]:
    """Reads the configuration `config.json` of a run folder.

    Raises:
        ValueError: If the file is not a valid configuration.
    """
    path = folder / "config.json"
    config = files.read_json(path)
    shape = config.get("image_shape") if isinstance(config, dict) else None
    if (
        not isinstance(shape, list)
        or [type(size) for size in shape] != [int] * 3
        or config.get("backend") not in BACKENDS
        or not isinstance(config.get("settings"), dict)
        or not isinstance(config.get("command"), str)
        or not isinstance(config.get("resumed_by"), list)
    ):
        raise ValueError(
            f"{path} must be a run configuration written by keras-vq train. Restore it from a "
            "backup, or start a new run."
        )
    return config


def settings_of(config: dict[str, Any]) -> Settings:
    """Returns the settings of a run, validated like command line options.

    Raises:
        ValueError: If a setting is invalid.
    """
    from keras_vq_cli.commands.train import command, settings_from

    settings = Settings.from_json(config["settings"])
    typed = []
    for name, value in settings.to_json().items():
        if isinstance(value, tuple):
            join = "," if name == "filters" else " "
            typed += [option_of(name), *join.join(map(str, value)).split()]
        elif value is True:
            typed.append(option_of(name))
        elif value not in (None, False):
            typed.append(f"{option_of(name)}={value}")
    try:
        with command.make_context("config.json", typed) as context:
            checked = settings_from(context.params)
    except (ValueError, click.UsageError) as error:
        raise ValueError(f"config.json contains invalid settings: {error}") from None
    if checked != settings:
        wrong = {
            name: value
            for name, value in settings.to_json().items()
            if value != getattr(checked, name)
        }
        raise ValueError(f"config.json contains invalid settings. Received: {wrong}")
    return settings
