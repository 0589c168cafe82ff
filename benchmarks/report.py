"""Tables and plots of measured figures in `results/`."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.goals import GOALS
from recipes._goals import table_of_goals
from recipes.common import columns_of, table_of_rows

_HEAD = """\
# Speed and memory

Written by `python -m benchmarks`. Each contender runs in a process of its own, and they take turns;
times are medians of the turns, and the spread is from the first to the third quartile. What counts
are ratios of one run: milliseconds are those of one small machine. Memory is that of further
processes, in which what is freed goes back to the system at once; a library that keeps memory for
its next step shows a smaller rise, so look at the whole process too.
"""
_TITLES = {
    "quantizer": "A quantizer's training step",
    "parts": "What a step of 8,192 vectors and 1,024 codes is made of",
    "sizes": "The same for other sizes",
    "memory": "Memory of a training step",
    "search": "The search for nearest codes alone",
    "kinds": "Other kinds of quantizers beside one search of 1,024 codes",
    "step": "A whole training step of a VQ-VAE",
    "fit": "What `fit` costs",
    "precision": "Mixed precision",
    "precision_emulated": "Mixed precision on a processor without units for bfloat16",
    "pretrained": "Encoding and decoding 256 x 256 images beside diffusers",
    "start_up": "Starting up",
}
# The benchmark `sizes` varies one size at a time; the other two keep these values.
_SIZES = {"vectors": 8192, "dim": 64, "codes": 8192}
_LABELS = {"vectors": "vectors", "dim": "dimensions", "codes": "codes"}
_HIDDEN = ("vectors", "dim", "codes", "contender", "network", "backend")


def write(folder: Path) -> None:
    """Writes `README.md` and plots next to the figures in a folder."""
    lines = [_HEAD, *table_of_goals(GOALS, folder, "python -m benchmarks "), ""]
    for name, title in _TITLES.items():
        path = folder / f"{name}.json"
        if not path.exists():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        rows = record["figures"]
        columns = [column for column in columns_of(rows) if column not in _HIDDEN]
        lines += [f"## {title}", "", *table_of_rows(rows, columns, digits=3), ""]
        if name == "sizes":
            _draw_sizes(rows, folder / "sizes.png")
            lines += ["![Milliseconds against vectors, codes and dimensions](sizes.png)", ""]
            lines += [
                "Slopes fitted on logarithmic axes; at 1 time is in proportion to the size.",
                "",
            ]
            lines += [*table_of_rows(_slopes(rows), list(_LABELS.values()), digits=3), ""]
        lines += [f"`{record['command']}`, {record['seconds']:.0f} s, {record['machine']}.", ""]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _draw_sizes(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Plots milliseconds against each size with the other two fixed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, varied in zip(figure.subplots(1, 3, sharey=True), _LABELS, strict=True):
        fixed = {key: value for key, value in _SIZES.items() if key != varied}
        for contender, points in _lines(rows, varied).items():
            axes.plot(*zip(*points, strict=True), marker="o", label=contender)
        axes.set(xscale="log", yscale="log", xlabel=_LABELS[varied])
        sizes = sorted({row[varied] for row in rows.values() if varied in row})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set_title(", ".join(f"{value:,} {_LABELS[key]}" for key, value in fixed.items()))
        axes.grid(visible=True, which="both", alpha=0.3)
    figure.axes[0].set_ylabel("ms a training step")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=120)


def _slopes(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Fits the exponent of the time with respect to each size, for each contender."""
    slopes: dict[str, dict[str, float]] = {}
    for varied, label in _LABELS.items():
        for contender, points in _lines(rows, varied).items():
            if len(points) > 1:
                slope = np.polyfit(*np.log(points).T, 1)[0]
                slopes.setdefault(contender, {})[label] = float(slope)
    return slopes


def _lines(rows: dict[str, dict[str, Any]], varied: str) -> dict[str, list[tuple[int, float]]]:
    """Returns milliseconds by one size for each contender, other sizes as in `_SIZES`."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows.values():
        others = {key: row.get(key) for key in _SIZES if key != varied}
        if "ms" in row and others.items() <= _SIZES.items():
            lines.setdefault(row["contender"], []).append((row[varied], row["ms"]))
    return {contender: sorted(points) for contender, points in lines.items()}
