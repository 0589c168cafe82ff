"""The tables and pictures of what was measured, in `results/`."""

import json
from pathlib import Path
from typing import Any

from recipes._results import columns_of, table_of_rows

_HEAD = """\
# Speed and memory

Written by `python -m benchmarks`. Each contender runs in a process of its own, and they take turns;
times are medians of the turns, and the spread is from the first to the third quartile. What counts
are ratios of one run: milliseconds are those of one small machine. Memory is that of further
processes, in which what is freed goes back to the system at once.
"""
_TITLES = {
    "quantizer": "A quantizer's training step",
    "parts": "What a step of 8,192 vectors and 1,024 codes is made of",
    "sizes": "The same for other sizes",
    "memory": "Memory of a training step",
    "kinds": "Other kinds of quantizers beside one search of 1,024 codes",
    "step": "A whole training step of a VQ-VAE",
    "fit": "What `fit` costs",
    "precision": "Mixed precision",
    "start_up": "Starting up",
}
_HIDDEN = ("vectors", "dim", "codes", "contender", "network", "backend")


def write(folder: Path) -> None:
    """Writes `README.md` and pictures beside the figures of a folder."""
    lines = [_HEAD]
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
        lines += [f"`{record['command']}`, {record['seconds']:.0f} s, {record['machine']}.", ""]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _draw_sizes(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Milliseconds against each size, the other two fixed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    measured = [row for row in rows.values() if "ms" in row]
    sizes = {"codes": "codes", "vectors": "vectors", "dim": "dimensions"}
    for axes, (varied, label) in zip(
        figure.subplots(1, 3, sharey=True), sizes.items(), strict=True
    ):
        fixed = {"vectors": 8192, "dim": 64, "codes": 8192}
        del fixed[varied]
        for contender in dict.fromkeys(row["contender"] for row in measured):
            points = sorted(
                (row[varied], row["ms"])
                for row in measured
                if row["contender"] == contender
                and all(row[key] == value for key, value in fixed.items())
            )
            axes.plot(*zip(*points, strict=True), marker="o", label=contender)
        axes.set(xscale="log", yscale="log", xlabel=label)
        axes.set_title(", ".join(f"{value:,} {sizes[key]}" for key, value in fixed.items()))
        axes.grid(visible=True, which="both", alpha=0.3)
    figure.axes[0].set_ylabel("ms a training step")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=120)
