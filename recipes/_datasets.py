"""The data sets that a recipe runs on: both, or those that its reader asks for."""

import argparse
from collections.abc import Sequence

DATASETS = ("mnist", "cifar10")


def add_datasets(parser: argparse.ArgumentParser) -> None:
    """Gives a recipe the option `--datasets`."""
    parser.add_argument(
        "--datasets", nargs="+", choices=DATASETS, default=DATASETS, help="default: both"
    )


def name_of_run(recipe: str, datasets: Sequence[str]) -> str:
    """The name of a recipe's results: a run on one data set does not replace those of both."""
    return recipe if set(datasets) == set(DATASETS) else "_".join([recipe, *datasets])
