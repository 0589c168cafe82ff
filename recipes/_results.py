"""Recipe results: a table on the screen and a file in `recipes/results/`."""

import json
import os
import sys
import time
from pathlib import Path

import keras
from rich.console import Console
from rich.table import Table

import keras_vq
from recipes import _machine

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
