"""Data set selection for recipes that run on MNIST and CIFAR-10."""

import argparse
from collections.abc import Sequence

DATASETS = ("mnist", "cifar10")


def add_datasets(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--datasets` to a parser."""
    parser.add_argument(
        "--datasets", nargs="+", choices=DATASETS, default=DATASETS, help="default: both"
    )


def name_of_run(recipe: str, datasets: Sequence[str]) -> str:
    """Returns the results name; a run on one data set does not overwrite the results of both."""
    return recipe if set(datasets) == set(DATASETS) else "_".join([recipe, *datasets])
