"""Goals for measured figures."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recipes.common import DATASETS, table_of_rows

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
    learned = ("autoencoder", "VQ-VAE")

    def lead(figures: Figures) -> float:
        ratios = {
            row.removeprefix(f"{dataset}: "): figures[row]["PSNR, dB"]
            for row in figures
            if row.startswith(dataset)
        }
        return ratios["VQ-VAE"] - max(ratios[name] for name in ratios if name not in learned)

    return lead


def slowest_lead(figures: Figures) -> float:
    """Returns the smallest sampling speed-up from caching over all priors."""
    leads = (row.get("speed-up over the naive loop") for row in figures.values())
    return min(lead for lead in leads if lead is not None)


def better_than_sonnet(figures: Figures) -> float:
    """Returns the test error of our best setting divided by that of Sonnet's setting."""
    best = min(row["test MSE"] for name, row in figures.items() if name != "Sonnet's")
    return best / figures["Sonnet's"]["test MSE"]


def restorations() -> Iterator[Goal]:
    tasks = {
        "denoise": "denoising",
        "super_resolution": "super-resolution",
        "inpaint": "inpainting",
    }
    for recipe, text in tasks.items():
        for dataset in DATASETS:
            yield Goal(
                f"{text}, {dataset}: PSNR gain of the VQ-VAE over the best classical method, dB",
                recipe,
                over_the_best_classical(dataset),
                0.0,
                OURS,
                is_least=True,
            )


LONG = "keras.io's setting, by gradient"
GOALS = [
    Goal(
        "MNIST, VQ-VAE in the setting of keras.io, 30 epochs: training MSE / variance",
        "vqvae_mnist",
        cell(LONG, "training: error over variance"),
        0.0431,
        KERAS_IO,
    ),
    Goal("the same: training loss", "vqvae_mnist", cell(LONG, "training: loss"), 0.2015, KERAS_IO),
    Goal(
        "CIFAR-10, VQ-VAE in the setting of Sonnet, 10,000 steps: MSE / variance",
        "vqvae_cifar10",
        cell("Sonnet's", "error over variance"),
        0.056,
        SONNET,
    ),
    Goal(
        "the same: perplexity per batch",
        "vqvae_cifar10",
        cell("Sonnet's", "perplexity per batch"),
        326,
        SONNET,
        is_least=True,
    ),
    Goal(
        "best setting with equal bits and steps: test MSE relative to that of Sonnet",
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
        "MNIST, PixelCNN prior: test nats per code",
        "generate_mnist",
        cell("PixelCNN", "validation nats per code"),
        1.0427,
        PIXEL_CNN,
    ),
    Goal(
        "Transformer prior on the same codes: test nats per code",
        "generate_mnist",
        cell("transformer", "validation nats per code"),
        1.0427,
        "PixelCNN of keras.io",
    ),
    Goal(
        "PixelCNN prior: bits per image",
        "generate_mnist",
        cell("PixelCNN", "bits per image"),
        73.6,
        "1.0427 nats, 49 codes",
    ),
    Goal(
        "test MSE of the VQ-VAE of these priors",
        "generate_mnist",
        cell("PixelCNN", "test MSE of the VQ-VAE"),
        0.00409,
        "0.0431 of MNIST's variance",
    ),
    Goal(
        "class accuracy of class-conditional samples, %",
        "generate_mnist",
        cell("transformer, by label", "class accuracy, %"),
        95,
        OURS,
        is_least=True,
    ),
    Goal(
        "sampling speed-up over the naive loop, slowest prior",
        "generate_mnist",
        slowest_lead,
        10,
        OURS,
        is_least=True,
    ),
]
