"""Plots of recipe results."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter


def draw_comparison(table: Mapping[str, Mapping[str, float]], path: Path, title: str) -> None:
    """Plots test error and codebook usage of each row as bars; rows are named `NAME, N bits`."""
    names = list(dict.fromkeys(row.rsplit(", ", 1)[0] for row in table))
    budgets = list(dict.fromkeys(row.rsplit(", ", 1)[1] for row in table))
    figure = Figure(figsize=(10, 1.6 + 0.34 * len(names)), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    height = 0.8 / len(budgets)
    colors = ("tab:blue", "tab:orange", "tab:green")
    for place, (budget, color) in enumerate(zip(budgets, colors, strict=False)):
        rows = [table.get(f"{name}, {budget}") for name in names]
        places = [n + (place - (len(budgets) - 1) / 2) * height for n in range(len(names))]
        for axes, key in zip(panels, ("test MSE", "usage, %"), strict=True):
            values = [row[key] if row else 0.0 for row in rows]
            bars = axes.barh(places, values, height, color=color, label=budget)
            form = "{:.4f}" if key == "test MSE" else "{:.0f}"
            axes.bar_label(bars, [form.format(value) for value in values], fontsize=6, padding=2)
    panels[0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    panels[0].set_xlabel("mean squared error of test images (pixels in [0, 1])")
    panels[1].set_xlabel("codes used by the test images, %")
    for axes in panels:
        axes.margins(x=0.12)
    panels[0].legend(title="per position", fontsize=8, title_fontsize=8, loc="lower right")
    figure.suptitle(title)
    figure.savefig(path, facecolor="white")


def draw_side_by_side(
    sets: Mapping[str, np.ndarray], path: Path, across: int = 3, columns: int = 10
) -> None:
    """Plots each set of images as a titled square; images may be gray or RGB.

    Args:
        sets: Images of each set by name.
        path: File to write.
        across: Integer. Number of squares per row.
        columns: Integer. Number of images per row of a square.
    """
    across = min(len(sets), across)
    down = -(-len(sets) // across)
    figure = Figure(figsize=(4.2 * across, 4.6 * down), dpi=100, layout="constrained")
    panels = np.ravel(figure.subplots(down, across))
    for axes in panels[len(sets) :]:
        axes.set_axis_off()
    for axes, (name, images) in zip(panels, sets.items(), strict=False):
        rows = [
            np.concatenate(images[start : start + columns], axis=1)
            for start in range(0, len(images) - columns + 1, columns)
        ]
        axes.imshow(np.concatenate(rows).clip(0, 1).squeeze(), cmap="gray", vmin=0, vmax=1)
        axes.set_title(name, fontsize=10)
        axes.set_axis_off()
    figure.savefig(path, facecolor="white")


def draw_rate_distortion(
    table: Mapping[str, Mapping[str, float]], families: tuple[str, ...], path: Path
) -> None:
    """Plots PSNR against bits per pixel, with one panel for each data set.

    Args:
        table: Rows named `DATASET: NAME, LAYOUT`, with the columns for bit rate and `PSNR, dB`.
        families: Name prefixes of the rows that form one line each, on sheets.
        path: File to write.
    """
    datasets = list(dict.fromkeys(row.partition(": ")[0] for row in table))
    figure = Figure(figsize=(5.5 * len(datasets), 4.4), dpi=150, layout="constrained")
    for axes, dataset in zip(np.ravel(figure.subplots(1, len(datasets))), datasets, strict=True):
        rows = {
            row.partition(": ")[2]: (figures["bits per pixel"], figures["PSNR, dB"])
            for row, figures in table.items()
            if row.startswith(f"{dataset}: ")
        }
        for place, family in enumerate(families):
            name_of = re.compile(rf"{family} \d+, sheets")
            line = sorted(point for name, point in rows.items() if name_of.fullmatch(name))
            if line:
                style = {"color": f"C{place}", "label": f"{family}, all on one sheet"}
                axes.plot(*zip(*line, strict=True), marker=".", **style)
        for name, point in rows.items():
            if name.startswith("VQ-VAE"):
                axes.plot(*point, marker="*", markersize=12, linestyle="", label=name)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(dataset)
        axes.set_xlabel("bits per pixel")
        axes.set_ylabel("PSNR of test images, dB")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    figure.savefig(path, facecolor="white")


def in_powers_of_two(axes: Axes) -> None:
    """Sets a horizontal log2 axis with plain-number tick labels."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
