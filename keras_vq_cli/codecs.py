"""Image codecs of `compress` and `decompress`: lookup of their model and prior."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from keras_vq_cli import backend, console, fingerprints, models, options
from keras_vq_cli.files import shown

PRESET = "vqvae_cifar10"
_LONGEST_ORIGIN = 64  # in UTF-8 bytes, limited by the .kvq format


def prior_option(default: str) -> Callable[[Any], Any]:
    """Adds the option --prior; `default` describes its default."""
    return options.option(
        "--prior",
        metavar="FILE",
        type=click.Path(path_type=Path),
        callback=_check_prior,
        help=".keras file of a PixelCNNPrior or TransformerPrior of the model, for arithmetic "
        "coding. Files with a prior are smaller, but can be decoded only on the same backend and "
        f"type of machine.  [default: {default}]",
    )


def _check_prior(context: Any, option: Any, path: Path | None) -> Path | None:
    if path is not None and not (path.suffix == ".keras" and path.is_file()):
        raise ValueError(f"--prior must be a .keras file of a prior. Received: {shown(path)}")
    return path


def of_options(model: models.Source | None, prior: Path | None, max_pixels: int | None) -> Any:
    """Returns the `ImageCodec` of a model and a prior; imports Keras.

    Args:
        model: `Source` of the model. Defaults to the preset for color images.
        prior: Path of the prior, if any.
        max_pixels: Integer. Limit per image; it raises the limit of the codec, which is per file,
            but does not lower it.
    """
    backend.import_keras()

    from keras_vq.codec import DEFAULT_MAX_PIXELS

    limit = max(max_pixels or 0, DEFAULT_MAX_PIXELS)
    return _codec(model or models.named(PRESET), prior, max_pixels=limit)


def of_file(
    data: bytes,
    file: Path,
    model: models.Source | None,
    prior: Path | None,
    max_pixels: int | None,
) -> tuple[Any, Any]:
    """Returns the header and the `ImageCodec` of a `.kvq` file; imports Keras.

    A model or prior that is not given is searched for by its fingerprint. The origins stored in the
    file are used in messages only.

    Raises:
        ValueError: If the file is corrupt, or the model or the prior is not found.
    """
    backend.import_keras()

    from keras_vq.codec import read_header

    header = read_header(data)
    if model is None:
        model = fingerprints.find_model(header.model, file.parent)
        if model is None:
            raise ValueError(_not_found("model", header.model, header.model_origin))
        console.message(f"Model: {shown(model.name)}")
    if header.prior and prior is None:
        folders = (file.parent, Path(), model.model_file.parent)
        prior = fingerprints.find_file(header.prior, folders)
        if prior is None:
            raise ValueError(_not_found("prior", header.prior, header.prior_origin))
        console.message(f"Prior: {shown(prior)}")
    limit = {} if max_pixels is None else {"max_pixels": max_pixels}
    return header, _codec(model, prior, **limit)


def _codec(model: models.Source, prior_file: Path | None, **options: Any) -> Any:
    import keras

    import keras_vq

    prior = None
    if prior_file is not None:
        prior = keras_vq.load_model(prior_file, compile=False)
    return keras_vq.codec.ImageCodec(
        model.load(keras.config.backend()),
        prior,
        model_origin=_origin(f"preset {model.name}" if model.is_preset else model.name),
        prior_origin="" if prior_file is None else _origin(prior_file.name),
        **options,
    )


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
