"""What compress and decompress share: which model, which prior."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from keras_vq_cli import arguments, trained
from keras_vq_cli.backend import import_keras

PRESET = "vqvae_cifar10"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of both commands."""
    parser.add_argument(
        "--model",
        metavar="RUN",
        help=f"{trained.MODEL_HELP} (default: the preset {PRESET}, for color)",
    )
    parser.add_argument(
        "--prior",
        metavar="FILE",
        help=".keras file of a PixelCNNPrior or TransformerPrior of the model's codes: smaller "
        "files, read on this kind of machine alone (default: none, codes are packed)",
    )
    arguments.add_backend(parser, "as Keras is configured; the choice matters with a prior")
    arguments.add_debug(parser)


def of_options(given: dict[str, Any]) -> Any:
    """The `ImageCodec` of the options; imports Keras.

    Raises:
        ValueError: If model or prior are none.
    """
    model = trained.named(given.get("model", PRESET))
    prior_file = Path(given["prior"]) if "prior" in given else None
    if prior_file is not None and not (prior_file.suffix == ".keras" and prior_file.is_file()):
        raise ValueError(f"--prior must be the .keras file of a prior. Received: {prior_file}")
    import_keras(given.get("backend"), given.get("debug", False))

    import keras_vq

    vqvae = model.load()
    prior = None
    if prior_file is not None:
        prior = keras_vq.load_model(prior_file, compile=False)
    return keras_vq.codec.ImageCodec(vqvae, prior)
