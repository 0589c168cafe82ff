"""Image codecs of `compress` and `decompress`: lookup of their model and prior."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from keras_vq_cli import arguments, console, fingerprints, trained
from keras_vq_cli.backend import import_keras
from keras_vq_cli.files import shown

PRESET = "vqvae_cifar10"
_LONGEST_ORIGIN = 64  # in UTF-8 bytes, limited by the .kvq format


def add_options(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Adds the options that `compress` and `decompress` share.

    Args:
        parser: Parser of the command.
        default: String. Description of the defaults of --model and --prior for the help. Defaults
            to those of `compress`.
    """
    parser.add_argument(
        "--model",
        metavar="RUN",
        help=f"{trained.MODEL_HELP} (default: {default or f'{PRESET}, for color images'})",
    )
    parser.add_argument(
        "--prior",
        metavar="FILE",
        help=".keras file of a PixelCNNPrior or TransformerPrior of the model, for arithmetic "
        "coding; files with a prior are smaller, but can be decoded only on the same backend and "
        f"type of machine (default: {default or 'none, fixed-length codes'})",
    )
    arguments.add_backend(
        parser, "the configured backend of Keras; with a prior, use one backend for both commands"
    )
    arguments.add_debug(parser)


def of_options(given: dict[str, Any]) -> Any:
    """Returns the `ImageCodec` selected by the options; imports Keras.

    Args:
        given: Dict of the given options. `max_pixels`, a limit per image, raises the limit of the
            codec, which is per file, but does not lower it.

    Raises:
        ValueError: If --model or --prior does not name a model or prior.
    """
    model = trained.named(given.get("model", PRESET))
    prior_file = _prior_file(given)
    import_keras(given.get("backend"), given.get("debug", False))

    from keras_vq.codec import DEFAULT_MAX_PIXELS

    limit = max(given.get("max_pixels", 0), DEFAULT_MAX_PIXELS)
    return _codec(model, prior_file, max_pixels=limit)


def of_file(data: bytes, file: Path, given: dict[str, Any]) -> tuple[Any, Any]:
    """Returns the header and the `ImageCodec` of a `.kvq` file; imports Keras.

    A model or prior that is not given as an option is searched for by its fingerprint. The origins
    stored in the file are used in messages only.

    Args:
        data: Bytes. Content of the file.
        file: Path of the file.
        given: Dict of the given options.

    Raises:
        ValueError: If the file is corrupt, or the model or the prior is not found.
    """
    model = trained.named(given["model"]) if "model" in given else None
    prior_file = _prior_file(given)
    import_keras(given.get("backend"), given.get("debug", False))

    from keras_vq.codec import read_header

    header = read_header(data)
    if model is None:
        model = fingerprints.find_model(header.model, file.parent)
        if model is None:
            raise ValueError(_not_found("model", header.model, header.model_origin))
        console.message(f"Model: {shown(model.name)}")
    if header.prior and prior_file is None:
        folders = (file.parent, Path(), model.model_file.parent)
        prior_file = fingerprints.find_file(header.prior, folders)
        if prior_file is None:
            raise ValueError(_not_found("prior", header.prior, header.prior_origin))
        console.message(f"Prior: {shown(prior_file)}")
    limit = {"max_pixels": given["max_pixels"]} if "max_pixels" in given else {}
    return header, _codec(model, prior_file, **limit)


def _codec(model: trained.Trained, prior_file: Path | None, **options: Any) -> Any:
    import keras_vq

    prior = None
    if prior_file is not None:
        prior = keras_vq.load_model(prior_file, compile=False)
    return keras_vq.codec.ImageCodec(
        model.load(),
        prior,
        model_origin=_origin(f"preset {model.name}" if model.is_preset else model.name),
        prior_origin="" if prior_file is None else _origin(prior_file.name),
        **options,
    )


def _prior_file(given: dict[str, Any]) -> Path | None:
    if "prior" not in given:
        return None
    path = Path(given["prior"])
    if not (path.suffix == ".keras" and path.is_file()):
        raise ValueError(f"--prior must be a .keras file of a prior. Received: {shown(path)}")
    return path


def _origin(name: str) -> str:
    """Returns a name as it is stored in a .kvq file: printable, at most 64 bytes of UTF-8."""
    return shown(name).encode()[:_LONGEST_ORIGIN].decode("utf-8", "ignore")


def _not_found(what: str, wanted: bytes, origin: str) -> str:
    places = "in the presets, in ./runs and" if what == "model" else "in the model's folder and"
    said = f" The recorded name is {shown(origin)!r}." if origin else ""
    return (
        f"The {what} of the file was not found {places} beside the file. Select it with "
        f"--{what}.{said} Received: a file of a {what} with fingerprint {wanted.hex()}"
    )
