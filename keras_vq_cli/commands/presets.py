"""`keras-vq presets`: lists the trained models of the package and describes them."""

from __future__ import annotations

from typing import Any

import click

from keras_vq_cli import console, files, models, options

_EXAMPLES = """
Examples:
  keras-vq presets list
  keras-vq presets info vqvae_mnist
  keras-vq presets list --json
"""
_LIST = """
Example: keras-vq presets list
"""
_INFO = """
Examples:
  keras-vq presets info vqvae_mnist
  keras-vq presets info my/preset --json
"""
# Shown as text, because they are sentences.
_SENTENCES = ("description", "notes")
_DIGESTS = ("sha256", "fingerprint")


@options.group(_EXAMPLES)
def command() -> None:
    """Lists the trained models of the package, and describes one.

    Every command that takes a MODEL takes the name of a preset.
    """


@command.command("list", examples=_LIST)
def list_presets() -> None:
    """Lists the trained models of the package."""
    records = [_record(name, source) for name, source in _sources().items()]
    rows = [
        {
            **record,
            "parameters": record["figures"].get("parameters"),
            "psnr": record["figures"].get("PSNR, dB"),
            "size": files.size(record["file_bytes"]),
        }
        for record in records
    ]
    table = console.table_of(
        rows,
        preset="preset",
        **{"class": "class"},
        parameters="parameters",
        size="file",
        psnr="PSNR, dB",
        description="description",
    )
    console.result(records, table)


@command.command("info", examples=_INFO)
@click.argument("preset", metavar="PRESET", type=models.ModelType())
def info(preset: models.Source) -> None:
    """Prints the origin, size and figures of a preset.

    PRESET is a name of `keras-vq presets list`, or a folder of `save_to_preset`.
    """
    if not preset.is_preset:
        raise ValueError(
            f"PRESET must be the name or folder of a preset. Received: {files.shown(preset.name)}, "
            f"another model. Describe it with: keras-vq inspect {files.shown(preset.name)}"
        )
    record = _record(preset.name, preset)
    left_out = ("figures", "preset", "file_bytes", *_SENTENCES, *_DIGESTS)
    facts = {key: value for key, value in record.items() if key not in left_out}
    facts["file"] = f"{files.shown(record['file'])}, {files.size(record['file_bytes'])}"
    sentences = [console.words(record[key]) for key in _SENTENCES if record.get(key)]
    console.result(
        record,
        *(f"{line}\n" for line in sentences),
        console.facts(facts),
        console.facts(record["figures"], "figure"),
    )


def _sources() -> dict[str, models.Source]:
    return {name: models.named(str(folder)) for name, folder in models.presets().items()}


def _record(name: str, source: models.Source) -> dict[str, Any]:
    path = source.model_file.with_name(models.PRESET_RECORD)
    record = files.read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("figures", {}), dict):
        raise ValueError(
            f"{files.shown(path)} must be a record written by `save_to_preset`. Copy the whole "
            "folder again."
        )
    return {
        "preset": name,
        "class": record.pop("class", None),
        "description": record.pop("description", None),
        "file": str(source.model_file),
        "file_bytes": source.model_file.stat().st_size,
        **record,
        "figures": record.get("figures", {}),
    }
