"""Goals for measured figures."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recipes._datasets import DATASETS
from recipes._results import table_of_rows

KERAS_IO = "log of keras.io's VQ-VAE example"
PIXEL_CNN = "log of keras.io's PixelCNN example"
SONNET = "log of Sonnet's VQ-VAE notebook"
OURS = "ours"

Figures = dict[str, Any]


class Goal(NamedTuple):
    """Goal for one figure: its file and the bound to reach."""

    text: str
    name: str
    figure: Callable[[Figures], float]
    limit: float
    source: str
    is_least: bool = False

    def is_reached(self, value: float) -> bool:
        return value >= self.limit if self.is_least else value <= self.limit


def table_of_goals(goals: Sequence[Goal], folder: Path, command: str) -> list[str]:
    """Returns the lines of a Markdown table of goals and reached figures.

    Args:
        goals: Rows of the table.
        folder: Folder with `NAME.json` for each goal that was measured.
        command: Command that writes a file, without the name at its end.
    """
    paths = {goal.name: folder / f"{goal.name}.json" for goal in goals}
    records = {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}
    rows: dict[str, dict[str, object]] = {}
    for goal in goals:
        row = rows[goal.text] = {
            "goal": f"{'>=' if goal.is_least else '<='} {goal.limit:g}",
            "from": goal.source,
            "reached": "not run",
            "command": f"`{command}{goal.name}`",
        }
        if goal.name in records:
            record = records[goal.name]
            row["command"] = f"`{record['command']}`"
            try:
                value = goal.figure(record["figures"])
            except KeyError:  # The run failed; its row states the reason.
                row["reached"] = "**failed**"
                continue
            row["value"] = value
            row["reached"] = "yes" if goal.is_reached(value) else "**no**"
    columns = ["goal", "from", "value", "reached", "command"]
    return ["## What was to be reached", "", *table_of_rows(rows, columns)]


def cell(row: str, column: str) -> Callable[[Figures], float]:
    """Returns a function that reads one figure of a table."""
    return lambda figures: figures[row][column]


def over_the_best_classical(dataset: str) -> Callable[[Figures], float]:
    """Returns the PSNR gain of the VQ-VAE over the best classical method, in dB."""
    learnt = ("autoencoder", "VQ-VAE")

    def lead(figures: Figures) -> float:
        ratios = {
            row.removeprefix(f"{dataset}: "): figures[row]["PSNR, dB"]
            for row in figures
            if row.startswith(dataset)
        }
        return ratios["VQ-VAE"] - max(ratios[name] for name in ratios if name not in learnt)

    return lead


def slowest_lead(figures: Figures) -> float:
    """Returns the smallest sampling speed-up from caching over all priors."""
    leads = (row.get("times as fast as the naive loop") for row in figures.values())
    return min(lead for lead in leads if lead is not None)


def better_than_sonnet(figures: Figures) -> float:
    """Returns the test error of our best setting divided by that of Sonnet's setting."""
    best = min(row["test MSE"] for name, row in figures.items() if name != "Sonnet's")
    return best / figures["Sonnet's"]["test MSE"]


def restorations() -> Iterator[Goal]:
    tasks = {
        "denoise": "noise taken off",
        "super_resolution": "twice the resolution",
        "inpaint": "holes filled",
    }
    for recipe, text in tasks.items():
        for dataset in DATASETS:
            yield Goal(
                f"{text}, {dataset}: the VQ-VAE's PSNR over that of the best classical method, dB",
                recipe,
                over_the_best_classical(dataset),
                0.0,
                OURS,
                is_least=True,
            )


LONG = "keras.io's setting, by gradient"
GOALS = [
    Goal(
        "VQ-VAE in keras.io's setting, 30 epochs: training error over variance",
        "vqvae_mnist",
        cell(LONG, "training: error over variance"),
        0.0431,
        KERAS_IO,
    ),
    Goal("the same: training loss", "vqvae_mnist", cell(LONG, "training: loss"), 0.2015, KERAS_IO),
    Goal(
        "VQ-VAE in Sonnet's setting, CIFAR-10, 10,000 steps: error over variance",
        "vqvae_cifar10",
        cell("Sonnet's", "error over variance"),
        0.056,
        SONNET,
    ),
    Goal(
        "the same: perplexity of a batch",
        "vqvae_cifar10",
        cell("Sonnet's", "perplexity a batch"),
        326,
        SONNET,
        is_least=True,
    ),
    Goal(
        "a better setting at as many bits and steps: its test MSE over that of Sonnet's",
        "vqvae_cifar10",
        better_than_sonnet,
        1.0,
        OURS,
    ),
    *restorations(),
    Goal(
        "MNIST, linear probe on quantized latents, %",
        "image_analysis",
        cell("mnist: VQ-VAE's quantized latents", "linear probe, %"),
        96,
        OURS,
        is_least=True,
    ),
    Goal(
        "PixelCNN of MNIST's codes, nats a code of test images",
        "generate_mnist",
        cell("PixelCNN", "validation nats a code"),
        1.0427,
        PIXEL_CNN,
    ),
    Goal(
        "transformer of the same codes, nats",
        "generate_mnist",
        cell("transformer", "validation nats a code"),
        1.0427,
        "the PixelCNN's",
    ),
    Goal(
        "PixelCNN, bits an image",
        "generate_mnist",
        cell("PixelCNN", "bits an image"),
        73.6,
        "1.0427 nats, 49 codes",
    ),
    Goal(
        "test MSE of the VQ-VAE whose codes these are",
        "generate_mnist",
        cell("PixelCNN", "test MSE of the VQ-VAE"),
        0.00409,
        "0.0431 of MNIST's variance",
    ),
    Goal(
        "digits of a label that our classifier takes for it, %",
        "generate_mnist",
        cell("transformer, by label", "labelled as asked, %"),
        95,
        OURS,
        is_least=True,
    ),
    Goal(
        "times as fast as the naive loop, slowest prior",
        "generate_mnist",
        slowest_lead,
        10,
        OURS,
        is_least=True,
    ),
]
