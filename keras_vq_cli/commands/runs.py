"""`keras-vq runs`: lists, describes and compares training runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from keras_vq_cli import backend, console, options, runs
from keras_vq_cli.files import shown

_EXAMPLES = """
Examples:
  keras-vq runs list
  keras-vq runs info runs/vqvae-mnist
  keras-vq runs compare runs/vqvae-mnist runs/vqvae-mnist-2 --out compare.png
"""
_LIST = """
Examples:
  keras-vq runs list
  keras-vq runs list experiments/ --json
"""
_INFO = """
Example: keras-vq runs info runs/vqvae-mnist
"""
_COMPARE = """
Examples:
  keras-vq runs compare runs/vqvae-mnist runs/vqvae-mnist-2
  keras-vq runs compare runs/* --out compare.png
"""
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@options.group(_EXAMPLES)
def command() -> None:
    """Lists, describes and compares training runs.

    A run is a folder written by keras-vq train.
    """


@command.command("list", examples=_LIST)
@click.argument("folder", metavar="[DIR]", type=_FOLDER, default="runs")
def list_runs(folder: Path) -> None:
    """Lists the runs in a folder, by default ./runs, and its subfolders.

    States: running; finished; interrupted, which keras-vq train --resume continues; damaged.
    """
    found = runs.folders(folder)
    records = sorted(map(_summary_or_damage, found), key=lambda record: record["date"] or "")
    rows = [
        {
            **record,
            "epochs": "" if record["epochs"] is None else "{epochs_done}/{epochs}".format(**record),
            "date": (record["date"] or "")[:16].replace("T", " "),
        }
        for record in records
    ]
    table = console.table_of(
        rows,
        run="run",
        model="model",
        dataset="data set",
        epochs="epochs",
        loss="loss",
        val_loss="val_loss",
        date="date",
        state="state",
    )
    if not found:
        console.message(f"No runs in {shown(folder)}. Start one with: keras-vq train")
    console.result(records, *([table] if found else []))


@command.command("info", examples=_INFO)
@click.argument("run", metavar="RUN", type=_FOLDER)
def info(run: Path) -> None:
    """Prints the state, the settings and the metrics of a run."""
    found = runs.read(run)
    summary = _summary(found)
    settings = _flat({key: value for key, value in found.config.items() if key != "backend"})
    details = {
        key: found.record.get(key) for key in ("started", "train_images", "test_images", "versions")
    }
    console.result(
        {
            **summary,
            **details,
            "command": found.record["command"],
            "resumed_by": found.record["resumed_by"],
            "config": found.config,
            "metrics": found.metrics,
            "history": found.history,
        },
        console.facts({**summary, **details, "command": found.record["command"]}),
        console.facts(settings, "setting"),
        *([console.facts(found.metrics, "test metric")] if found.metrics else []),
    )


@command.command("compare", examples=_COMPARE)
@click.argument("folders", metavar="RUN RUN...", type=_FOLDER, nargs=-1, required=True)
@options.out("Picture of the curves to write, ending in .png, .pdf or .svg.")
@options.overwrite
def compare(folders: tuple[Path, ...], out: Path | None, overwrite: bool) -> None:
    """Prints the settings and metrics in which runs differ, and plots their curves.

    Metrics are those of the test images, after the last epoch.
    """
    if len({folder.resolve() for folder in folders}) < 2:
        raise ValueError("Two different runs or more are required. Received: one")
    if out is not None:
        options.check_out(out, options.PICTURES, overwrite)
    found = dict(zip(_names(folders), map(runs.read, folders), strict=True))
    settings = _rows({**_flat(run.config), **_flat(_kept(run.record))} for run in found.values())
    differences = {key: row for key, row in settings.items() if any(v != row[0] for v in row)}
    metrics = _rows(_final(run) for run in found.values())
    if out is not None:
        _plot(found, out)
    names = list(found)
    console.result(
        {
            "runs": [_summary(run) for run in found.values()],
            "differences": {key: _by_run(names, row) for key, row in differences.items()},
            "metrics": {key: _by_run(names, row) for key, row in metrics.items()},
            "picture": None if out is None else str(out),
        },
        _table("setting", names, differences) if differences else "The settings are equal.",
        _table("metric", names, metrics),
        *([] if out is None else [f"Written: {shown(out)}"]),
    )


def _summary(run: runs.Run) -> dict[str, Any]:
    last = run.history[-1] if run.history else {}
    return {
        "run": str(run.folder),
        "state": run.state,
        "model": run.model,
        "dataset": run.record.get("dataset"),
        "epochs_done": len(run.history),
        "epochs": run.epochs,
        "loss": last.get("loss"),
        "val_loss": last.get("val_loss"),
        "date": run.changed.isoformat(timespec="seconds"),
        "backend": run.config.get("backend"),
    }


def _summary_or_damage(folder: Path) -> dict[str, Any]:
    try:
        return _summary(runs.read(folder))
    except (ValueError, OSError) as error:
        console.warning(f"{shown(folder)} can't be read. {error}")
        keys = ("model", "dataset", "epochs_done", "epochs", "loss", "val_loss", "date", "backend")
        return {"run": str(folder), "state": "damaged", **dict.fromkeys(keys)}


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Returns the entries of nested dictionaries by dotted key."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    inner = (_flat(each, f"{path}.{key}".lstrip(".")) for key, each in value.items())
    return {key: each for entries in inner for key, each in entries.items()}


def _kept(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("command", "resumed_by")}


def _final(run: runs.Run) -> dict[str, Any]:
    """Returns the test metrics of a run, and its losses after the last epoch."""
    last = run.history[-1] if run.history else {}
    losses = {f"{key} (last epoch)": last[key] for key in ("loss", "val_loss") if key in last}
    return {"epochs": len(run.history), **run.metrics, **losses}


def _rows(records: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """Returns the values of each key in several records, `None` where a record lacks it."""
    records = list(records)
    keys = dict.fromkeys(key for record in records for key in record)
    rows = {key: [record.get(key) for record in records] for key in keys}
    return {key: row for key, row in rows.items() if any(value is not None for value in row)}


def _by_run(names: list[str], row: list[Any]) -> dict[str, Any]:
    return dict(zip(names, row, strict=True))


def _table(first: str, names: list[str], rows: dict[str, list[Any]]) -> Any:
    records = [{"": key, **_by_run(names, row)} for key, row in rows.items()]
    return console.table_of(records, **{"": first}, **{name: console.words(name) for name in names})


def _names(folders: tuple[Path, ...]) -> list[str]:
    """Returns the names of the folders, or their paths if names are equal."""
    names = [folder.resolve().name for folder in folders]
    return names if len({*names}) == len(names) else [str(folder) for folder in folders]


def _plot(found: dict[str, runs.Run], out: Path) -> None:
    curves = {
        name: {key: [row[key] for row in run.history] for key in run.history[0]}
        for name, run in found.items()
        if run.history
    }
    if not curves:
        raise ValueError("No run has completed an epoch. Train one first.")
    backend.import_keras()
    from keras_vq import plots

    plots.plot_histories(curves, out)
