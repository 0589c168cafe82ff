"""Configuration of training runs: sections, options that set them, and YAML files.

A configuration is a dictionary of sections. `network`, `quantizer`, `model`, `discriminator` and
`optimizer` have the snake_case name of a class as `type`, and its constructor arguments, which may
be such dictionaries too. This module does not import Keras; `building` checks the arguments.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import click

from keras_vq_cli import files, session
from keras_vq_cli.options import (
    COUNT,
    NATURAL,
    NOT_NEGATIVE,
    POSITIVE,
    Choice,
    Integers,
    did_you_mean,
    option,
)

Config = dict[str, Any]

MODELS = ("vqvae", "vae", "autoencoder", "vqvae2", "vqgan")
NETWORKS = (
    "convolutional",
    "residual_convolutional",
    "dense",
    "hierarchical",
    "latent_diffusion",
    "tiny_autoencoder",
)
QUANTIZERS = (
    "vector_quantizer",
    "finite_scalar_quantizer",
    "lookup_free_quantizer",
    "residual_quantizer",
    "product_quantizer",
    "gumbel_softmax_quantizer",
    "index_backpropagation_quantizer",
    "implicit_neural_quantizer",
    "latent_quantizer",
    "multi_scale_quantizer",
)
ESTIMATORS = ("straight_through", "rotation_trick")
CODEBOOKS = ("ema_codebook", "gradient_codebook", "projected_codebook", "sgd_codebook")
# Sections of constructor arguments; the others have the fields of this module.
CLASSES = ("network", "quantizer", "model", "discriminator", "optimizer")
_WITH_QUANTIZER = ("vqvae", "vqvae2", "vqgan")


class Field(NamedTuple):
    """Setting with an option of its own.

    Args:
        key: String. Place in the configuration, such as "data.limit".
        kind: Type of the values.
        help: String. Help text.
        default: Default value, `None` if it depends on other settings.
        shown: String. Description of the default. Defaults to the value.
        models: Tuple of strings. Types of models that use it. Defaults to all.
    """

    key: str
    kind: Any
    help: str
    default: Any = None
    shown: str = ""
    models: tuple[str, ...] = MODELS

    @property
    def group(self) -> str:
        """Heading in the help text."""
        section = self.key.partition(".")[0]
        return {"data": "Images", **dict.fromkeys(CLASSES[:-1], "Model")}.get(section, "Training")

    @property
    def option(self) -> str:
        """Name of the option: the last part of the key, or the section of a type."""
        return "--" + self.key.removesuffix(".type").rpartition(".")[2].replace("_", "-")

    @property
    def parameter(self) -> str:
        """Name of the parameter of the command."""
        return self.key.replace(".", "_")


FIELDS = (
    Field(
        "data.dataset",
        click.STRING,
        "digits, mnist, fashion_mnist, cifar10, another image data set of TensorFlow Datasets, or "
        "a folder of image files.",
        "digits",
    ),
    Field(
        "data.data_dir",
        click.STRING,
        "Folder of prepared TensorFlow Datasets.",
        shown="$TFDS_DATA_DIR, else ~/tensorflow_datasets",
    ),
    Field("data.image_size", Integers(2), "Height and width of all images.", shown="unchanged"),
    Field("data.skip_broken", click.BOOL, "Skip unreadable files with a warning.", False),
    Field("data.max_pixels", COUNT, "Maximum number of pixels per image.", shown="33554432"),
    Field("data.limit", COUNT, "Number of training images, from the first one.", shown="all"),
    Field("model.type", Choice(MODELS), "Type of model.", MODELS[0]),
    Field(
        "network.type",
        Choice(NETWORKS),
        "Architecture of the encoder and decoder.",
        shown="convolutional; hierarchical for vqvae2",
    ),
    Field(
        "network.filters",
        Integers(),
        "Number of filters of each stride-2 convolution of the encoder, or of units of each hidden "
        "layer with --network dense.",
        shown="by image size, 32,64 for 28 x 28 pixels; 512,256 for dense",
    ),
    Field(
        "network.latent_dim",
        COUNT,
        "Dimension of the latent vector; with a quantizer, of each vector of the latent map.",
        shown="16",
    ),
    Field(
        "quantizer.type",
        Choice(QUANTIZERS),
        "Quantizer.",
        shown=QUANTIZERS[0],
        models=_WITH_QUANTIZER,
    ),
    Field(
        "quantizer.codebook_size",
        COUNT,
        "Number of code vectors.",
        shown="256",
        models=_WITH_QUANTIZER,
    ),
    Field(
        "quantizer.codebook.type",
        Choice(CODEBOOKS),
        "Codebook of the vector_quantizer.",
        shown=CODEBOOKS[0],
        models=_WITH_QUANTIZER,
    ),
    Field(
        "quantizer.commitment_weight",
        NOT_NEGATIVE,
        "Weight of the commitment loss.",
        shown="0.25",
        models=_WITH_QUANTIZER,
    ),
    Field(
        "quantizer.estimator",
        Choice(ESTIMATORS),
        "Gradient estimator.",
        shown=ESTIMATORS[0],
        models=_WITH_QUANTIZER,
    ),
    Field("model.beta", NOT_NEGATIVE, "Weight of the KL divergence.", shown="1", models=("vae",)),
    Field(
        "model.kl_warmup_steps",
        NATURAL,
        "Number of training steps over which the KL weight increases from 0 to --beta.",
        shown="0",
        models=("vae",),
    ),
    Field(
        "training.epochs",
        COUNT,
        "Total number of epochs, including those before --resume.",
        shown="30 for fewer than 10,000 images, else 10",
    ),
    Field("training.batch_size", COUNT, "Number of images per step.", 64),
    Field("optimizer.type", click.STRING, "Optimizer.", "adam"),
    Field("optimizer.learning_rate", POSITIVE, "Learning rate.", 1e-3),
    Field(
        "training.schedule",
        Choice(("constant", "cosine")),
        "Learning rate schedule; cosine decays it to 0 over all epochs.",
        "constant",
    ),
    Field(
        "training.loss",
        click.STRING,
        "Reconstruction loss: a name of keras.losses.",
        shown="that of the model",
    ),
    Field(
        "training.adapt",
        Choice(("kmeans", "first", "none")),
        "Initialization of the codebook from encoder outputs.",
        shown="kmeans if the quantizer supports it",
        models=_WITH_QUANTIZER,
    ),
    Field(
        "training.early_stopping",
        COUNT,
        "Number of epochs without a lower validation loss after which training ends.",
        shown="never",
    ),
    Field(
        "training.mixed_precision",
        Choice(("float16", "bfloat16")),
        "Data type of computations; weights stay in float32.",
        shown="float32",
    ),
    Field(
        "training.init_from",
        click.STRING,
        "Model to train further: run folder, preset, .keras file, folder of another library, or "
        "hf://OWNER/NAME.",
        shown="a new model",
    ),
    Field("seed", NATURAL, "Random seed of weights, order of images and samples.", 0),
    Field("backend", Choice(session.BACKENDS), "Keras backend."),
)
_BY_KEY = {field.key: field for field in FIELDS}


def options_of_fields(function: Any) -> Any:
    """Adds the options of all fields, except the global --backend."""
    for field in reversed(FIELDS):
        if field.key != "backend":
            shown = field.shown or ("" if field.kind is click.BOOL else str(field.default))
            function = option(
                field.option,
                field.parameter,
                type=None if field.kind is click.BOOL else field.kind,
                is_flag=True if field.kind is click.BOOL else None,
                group=field.group,
                help=field.help + (f"  [default: {shown}]" if shown else ""),
            )(function)
    return function


def given(parameters: dict[str, Any]) -> dict[str, Any]:
    """Returns the values of the given options of fields, by key."""
    values = {field.key: parameters.get(field.parameter) for field in FIELDS}
    return {key: value for key, value in values.items() if value not in (None, False)}


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Parses the values of --set, such as "quantizer.codebook_size=1024".

    Raises:
        ValueError: If one has another form.
    """
    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key.strip() and equals):
            raise ValueError(
                "--set must be KEY=VALUE, such as quantizer.codebook_size=1024. "
                f"Received: {setting!r}"
            )
        values[key.strip()] = files.parse_yaml(text, f"--set {key}")
    return values


def merged(config: Config, values: dict[str, Any]) -> Config:
    """Returns a configuration with changed values; a new `type` drops the old arguments.

    Args:
        config: Dictionary of sections.
        values: Dictionary of new values by dotted key.

    Raises:
        ValueError: If a section is unknown, or a value is invalid.
    """
    config = _copy(config)
    for key in sorted(values, key=lambda key: not key.endswith(".type")):
        *path, last = key.split(".")
        section = config
        for name in path:
            inner = section.setdefault(name, {})
            if not isinstance(inner, dict):
                inner = section[name] = {"type": inner} if isinstance(inner, str) else {}
            section = inner
        if last == "type" and section.get("type", values[key]) != values[key]:
            section.clear()
        section[last] = _copy(values[key])
    check(config)
    return config


def check(config: Any) -> None:
    """Checks the names of sections and the values of fields.

    Raises:
        ValueError: If one is invalid.
    """
    if not isinstance(config, dict):
        raise ValueError(f"A configuration must be a mapping of sections. Received: {config!r}")
    known = {field.key.partition(".")[0] for field in FIELDS} | {*CLASSES}
    for name, section in config.items():
        if name not in known:
            raise ValueError(_unknown(str(name), sorted(known), "section"))
        if name in ("seed", "backend"):
            _check_value(_BY_KEY[name], section)
            continue
        if not isinstance(section, dict) or not all(isinstance(key, str) for key in section):
            raise ValueError(
                f"`{name}` must be a mapping of names to values. Received: {section!r}"
            )
        for key, value in section.items():
            field = _BY_KEY.get(f"{name}.{key}")
            if field is not None:
                _check_value(field, value)
            elif name not in CLASSES:
                inner = sorted(each for each in _BY_KEY if each.startswith(f"{name}."))
                raise ValueError(_unknown(f"{name}.{key}", inner, "setting"))
    _check_models(config)


def _check_models(config: Config) -> None:
    kind = config.get("model", {}).get("type", MODELS[0])
    for field in FIELDS:
        section, _, key = field.key.partition(".")
        value = config.get(section, {}).get(key) if key else None
        if kind not in field.models and value not in (None, "none"):
            raise ValueError(
                f"{field.option} requires --model {' or '.join(field.models)}. "
                f"Received: --model {kind}"
            )


def _check_value(field: Field, value: Any) -> None:
    if value is None and field.default is None:
        return
    if value is None or (field.kind is click.STRING and not isinstance(value, str | dict)):
        raise ValueError(f"Invalid value for {field.key}: {value!r} is not a name.")
    is_flag = field.kind is click.BOOL
    try:
        if isinstance(value, dict) or is_flag != isinstance(value, bool):
            if not (isinstance(value, dict) and "type" in value):  # e.g. a schedule
                raise click.UsageError(f"{value!r} is not valid.")
            return
        if isinstance(value, list | tuple):
            if not isinstance(field.kind, Integers) or {*map(type, value)} - {int}:
                raise click.UsageError(f"{value!r} is not valid.")
            value = ",".join(map(str, value))
        elif field.kind in (COUNT, NATURAL) and not isinstance(value, int | str):
            raise click.UsageError(f"{value!r} is not an integer.")
        field.kind.convert(value if is_flag else str(value), None, None)
    except click.UsageError as error:
        raise ValueError(f"Invalid value for {field.key}: {error.message}") from None


def _unknown(key: str, known: list[str], what: str) -> str:
    return (
        f"The configuration has no {what} {key!r}.{did_you_mean(key, known)} Valid: "
        f"{', '.join(known)}"
    )


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


def with_whole_paths(config: Config) -> Config:
    """Returns a configuration with absolute paths, so that a run can be repeated from anywhere."""
    config = _copy(config)
    for section, key in (("data", "dataset"), ("data", "data_dir"), ("training", "init_from")):
        value = config.get(section, {}).get(key)
        path = None if value is None else Path(value).expanduser()
        # The name of a data set or preset may be that of an unrelated file.
        is_name = key == "dataset" and value in ("digits", "mnist", "fashion_mnist", "cifar10")
        if path is not None and path.exists() and not is_name:
            config[section][key] = str(path.resolve())
    return config


def check_dataset(config: Config) -> None:
    """Raises ValueError for a path without a folder, before the slow import of Keras."""
    name = config.get("data", {}).get("dataset", "digits")
    is_path = name.startswith((".", "/", "~", "\\")) or name.endswith(("/", "\\"))
    if is_path and not os.path.exists(os.path.expanduser(name)):
        raise ValueError(f"--dataset must be an existing folder. Received: {name}")


def with_defaults(config: Config) -> Config:
    """Returns a configuration with the default values of all fields outside of classes."""
    config = _copy(config)
    for field in FIELDS:
        section, _, key = field.key.partition(".")
        if section not in CLASSES and key:
            config.setdefault(section, {}).setdefault(key, field.default)
    config.setdefault("seed", 0)
    return config
