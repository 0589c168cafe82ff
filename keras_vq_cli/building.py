"""Objects of a configuration: data sets, networks, quantizers, models and optimizers."""

from __future__ import annotations

import inspect
import math
import re
from types import ModuleType
from typing import Any

import keras
import numpy as np

import keras_vq
from keras_vq import codebooks, losses, models, networks, priors, quantizers, regularizers
from keras_vq._registry import snake_case
from keras_vq.data import ImageDataset
from keras_vq_cli import figures
from keras_vq_cli.backend import importing
from keras_vq_cli.configuration import CLASSES, Config, with_defaults
from keras_vq_cli.options import did_you_mean

# Latent vectors per image of a dense VQ-VAE; with one vector, an image would be a single code.
_DENSE_VECTORS = 16
_VECTORS_PER_CODE = 256
_SMALL_SET = 10_000
_EPOCHS_OF_SMALL_SET = 30
_EPOCHS = 10

_NAMESPACES: tuple[ModuleType, ...] = (
    *(networks, quantizers, models, codebooks, losses, priors, regularizers),
    *(keras.optimizers, keras.optimizers.schedules, keras.initializers),
)
# Arguments that other sections or the data determine.
_DETERMINED = {
    *("self", "args", "kwargs", "name", "dtype", "provenance", "image_shape", "seed"),
    *("encoder", "decoder", "discriminator", "feature_network", "grid_shape"),
    *("bottom_encoder", "top_encoder", "top_decoder", "bottom_head"),
    *("bottom_quantizer", "top_quantizer"),
}
# Defaults that differ from those of the library, or are required there.
# With decay 0.95, dead codes are restarted after 45 steps instead of 229.
_CODEBOOK = {"decay": 0.95, "restart": {"type": "dead_code_restart"}}
_SIZED = {"codebook_size": 256}
_DEFAULTS: dict[str, Config] = {
    "vector_quantizer": {**_SIZED, "codebook": {"type": "ema_codebook"}},
    "gumbel_softmax_quantizer": _SIZED,
    "implicit_neural_quantizer": _SIZED,
    "index_backpropagation_quantizer": _SIZED,
    "ema_codebook": _CODEBOOK,
    "gradient_codebook": _CODEBOOK,
    "sgd_codebook": _CODEBOOK,
    "finite_scalar_quantizer": {"levels": [8, 5, 5, 5]},
    "latent_quantizer": {"levels": [8, 5, 5, 5]},
}
# Filters of the strided layers, by the number of layers; typical values of published models.
_FILTERS = {
    "convolutional": {1: [64], 2: [32, 64], 3: [32, 64, 128], 4: [32, 64, 128, 128]},
    "residual_convolutional": {1: [128], 2: [64, 128], 3: [64, 128, 128], 4: [64, 128, 128, 128]},
}
_FILTERS["hierarchical"] = _FILTERS["residual_convolutional"]


def completed(config: Config, image_shape: tuple[int, ...], images: int) -> Config:
    """Returns a configuration with a value for every setting and constructor argument.

    Args:
        config: Dictionary of sections, as `configuration.merged` returns it.
        image_shape: Tuple `(height, width, channels)`.
        images: Integer. Number of training images.

    Raises:
        ValueError: If a class or an argument is unknown, or a required argument is missing.
    """
    config = with_defaults(config)
    training = config["training"]
    if training["epochs"] is None:
        training["epochs"] = _EPOCHS_OF_SMALL_SET if images < _SMALL_SET else _EPOCHS
    if training["init_from"] is None:
        _complete_model(config, image_shape)
    else:
        _check_no_model(config)
    try:
        keras.losses.get(training["loss"])
    except ValueError:
        hint = did_you_mean(training["loss"], map(snake_case, vars(keras.losses)))
        raise ValueError(
            f"--loss must be a name of keras.losses.{hint} Received: {training['loss']!r}"
        ) from None
    if training["adapt"] is None:
        training["adapt"] = "kmeans" if _is_adaptable(config.get("quantizer", {})) else "none"
    optimizer = {"type": "adam", "learning_rate": 1e-3, **config.get("optimizer", {})}
    order = ("backend", "seed", "data", *CLASSES[:-1], "optimizer", "training")
    config["optimizer"] = complete(optimizer, "optimizer")
    return {name: config[name] for name in order if name in config}


def _complete_model(config: Config, image_shape: tuple[int, ...]) -> None:
    model = config.setdefault("model", {})
    kind = model.setdefault("type", "vqvae")
    is_coded = kind in ("vqvae", "vqvae2", "vqgan")
    if is_coded:
        quantizer = {"type": "vector_quantizer", **config.get("quantizer", {})}
        config["quantizer"] = complete(quantizer, "quantizer")
    network = config.setdefault("network", {})
    name = network.setdefault("type", "hierarchical" if kind == "vqvae2" else "convolutional")
    if name == "dense" and "filters" in network:
        network["units"] = network.pop("filters")
    if name in _FILTERS:
        filters = _FILTERS[name][default_halvings(*image_shape[:2])]
        network.setdefault("filters", filters)
    levels = config.get("quantizer", {}).get("levels")
    network.setdefault("latent_dim", len(levels) if levels else 16)
    network.setdefault("output_activation", "sigmoid" if kind == "vae" else "clip")
    if "pad" in _arguments(class_of(name, "network")):
        network.setdefault("pad", True)
    config["network"] = complete(network, "network")
    if kind == "vqgan":
        discriminator = {"type": "patch_discriminator", **config.get("discriminator", {})}
        config["discriminator"] = complete(discriminator, "discriminator")
    config["model"] = complete(model, "model", left_out=("latent_dim", "quantizer"))


def _check_no_model(config: Config) -> None:
    given = [name for name in CLASSES[:-1] if config.get(name)]
    if given:
        raise ValueError(
            f"A model from --init-from has its own {given[0]}. Remove the settings of {given[0]}."
        )


def default_halvings(height: int, width: int) -> int:
    """Returns the default number of strided layers, each of which halves height and width.

    By the smaller side: 1 below 16 pixels, 2 below 96, 3 below 256, else 4. Latent maps of images
    of 8 to 512 pixels are then 4 x 4 to 32 x 32.
    """
    return 1 + sum(min(height, width) >= bound for bound in (16, 96, 256))


def complete(section: Config, path: str, left_out: tuple[str, ...] = ()) -> Config:
    """Returns a section with all constructor arguments, in the order of the constructor."""
    name = section.get("type")
    member = class_of(name, path)
    arguments = _arguments(member)
    for key in left_out:
        arguments.pop(key, None)
    for key in section:
        if key not in ("type", "seed", *arguments):
            raise ValueError(_no_argument(key, path, name, member, arguments))
    defaults = {**arguments, **_DEFAULTS.get(str(name), {})}
    filled: Config = {"type": name}
    for key, default in defaults.items():
        value = section.get(key, default)
        if key not in arguments:
            continue
        if key == "codebook" and isinstance(value, dict):
            size = section.get("codebook_size", defaults["codebook_size"])
            value = {"type": "ema_codebook", **value, "codebook_size": size}
        if value is inspect.Parameter.empty:
            raise ValueError(
                f"{name} requires {key}. Pass --set {path}.{key}=VALUE. {_help_of(member, key)}"
            )
        filled[key] = _complete_value(value, f"{path}.{key}")
    if "seed" in section:
        filled["seed"] = section["seed"]
    return filled


def _complete_value(value: Any, path: str) -> Any:
    if isinstance(value, dict) and "type" in value:
        return complete(value, path)
    if isinstance(value, list | tuple):
        return [_complete_value(item, path) for item in value]
    return value


def class_of(name: Any, path: str) -> Any:
    """Returns the class, or the builder of networks, of a snake_case name."""
    # Other functions read files and create objects of any class (`load_model`, `deserialize`).
    members = {
        _plain(key): (key, member)
        for namespace in _NAMESPACES
        for key, member in vars(namespace).items()
        if inspect.isclass(member) or (namespace is networks and inspect.isfunction(member))
    }
    found = members.get(_plain(str(name)))
    if found is None:
        known = [snake_case(key) for key, _ in members.values()]
        hint = did_you_mean(str(name), known)
        raise ValueError(f"`{path}.type` must be the name of a class.{hint} Received: {name!r}")
    return found[1]


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _arguments(member: Any) -> dict[str, Any]:
    """Returns the settable arguments of a class or function, with their defaults."""
    sources = [member]
    if inspect.isclass(member):
        bases = [base for base in inspect.getmro(member) if "__init__" in vars(base)]
        sources = [
            vars(base)["__init__"]
            for base in bases
            if base is member or base.__module__.partition(".")[0] == "keras_vq"
        ]
    found: dict[str, Any] = {}
    for source in sources:
        for name, parameter in inspect.signature(source).parameters.items():
            if name not in _DETERMINED and parameter.kind is not parameter.VAR_KEYWORD:
                found.setdefault(name, parameter.default)
    return found


def _no_argument(key: str, path: str, name: Any, member: Any, arguments: dict[str, Any]) -> str:
    lines = [f"  {path}.{each}: {_help_of(member, each)}" for each in arguments]
    hint = did_you_mean(key, arguments)
    return "\n".join([f"{name} has no setting {key!r}.{hint} Valid:", *lines])


def _help_of(member: Any, argument: str) -> str:
    """Returns the description of an argument, from the docstrings of a class and its bases."""
    for base in inspect.getmro(member) if inspect.isclass(member) else (member,):
        text = inspect.getdoc(base) or ""
        found = re.search(rf"^    {argument}: (.*(?:\n      .*)*)", text, re.MULTILINE)
        if found:
            return " ".join(found[1].split())
    return ""


def build(value: Any, path: str, seed: int, **determined: Any) -> Any:
    """Creates the object of a section, with the objects of its arguments.

    Args:
        value: Dictionary with a `type`, a list of such, or any other value, returned as it is.
        path: String. Place in the configuration, for error messages.
        seed: Integer. Seed of objects that have none of their own.
        **determined: Further arguments.

    Raises:
        ValueError: If an argument is invalid.
    """
    if isinstance(value, list):
        # Equal seeds would give the stages of a residual quantizer equal codebooks.
        return [build(item, path, seed + place) for place, item in enumerate(value)]
    if not (isinstance(value, dict) and "type" in value):
        return value
    member = class_of(value["type"], path)
    arguments = {
        key: build(item, f"{path}.{key}", seed) for key, item in value.items() if key != "type"
    }
    if isinstance(value.get("codebook"), dict):
        del arguments["codebook_size"]  # the codebook has it
    if inspect.isclass(member) and "seed" in inspect.signature(member.__init__).parameters:
        arguments.setdefault("seed", seed)
    try:
        return member(**arguments, **determined)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def load_images(config: Config, progress: bool) -> tuple[ImageDataset, ImageDataset]:
    """Loads the training and test images.

    Test images are the split "test", else "validation", else the last 10 % of the split "train",
    which are then excluded from training.

    Raises:
        ValueError: If the data set does not exist or can't be read.
    """
    data = with_defaults(config)["data"]
    options = {key: data[key] for key in ("data_dir", "image_size", "skip_broken")}
    if data["max_pixels"] is not None:
        options["max_pixels"] = data["max_pixels"]

    def load(split: str) -> ImageDataset:
        return keras_vq.data.load(data["dataset"], split, progress=progress, **options)

    train = load("train")
    test = _first_that_exists(load, ("test", "validation"))
    if test is None:
        train, test = load("train[:90%]"), load("train[90%:]")
    if data["limit"] is not None:
        train = train.take(data["limit"])
    return train, test


def _first_that_exists(load: Any, splits: tuple[str, ...]) -> ImageDataset | None:
    for split in splits:
        try:
            return load(split)
        except keras_vq.data.UnknownSplitError:
            continue
    return None


def build_model(config: Config, image_shape: tuple[int, ...], images: int) -> keras.Model:
    """Builds and compiles the model of a complete configuration, with weights from the seed.

    Args:
        config: Dictionary of `completed`.
        image_shape: Tuple `(height, width, channels)`.
        images: Integer. Number of training images.
    """
    training, seed = config["training"], config["seed"]
    with importing():  # imports TensorFlow on every backend
        keras.utils.set_random_seed(seed)
    policy = training["mixed_precision"]
    keras.config.set_dtype_policy("float32" if policy is None else f"mixed_{policy}")
    if training["init_from"] is None:
        model = _model(config, image_shape)
    else:
        from keras_vq_cli.models import named

        model = named(training["init_from"]).load(input_shape=image_shape)
        if model.input_shape[1:] != tuple(image_shape):
            raise ValueError(
                f"The model of --init-from takes images of {model.input_shape[1:]}. Pass "
                f"--image-size. Received: images of {tuple(image_shape)}"
            )
    optimizer = dict(config["optimizer"])
    if training["schedule"] == "cosine":
        steps = training["epochs"] * math.ceil(images / training["batch_size"])
        optimizer["learning_rate"] = keras.optimizers.schedules.CosineDecay(
            optimizer["learning_rate"], steps
        )
    model.compile(build(optimizer, "optimizer", seed), loss=training["loss"])
    return model


def _model(config: Config, image_shape: tuple[int, ...]) -> keras.Model:
    seed, kind = config["seed"], config["model"]["type"]
    network = dict(config["network"])
    latent_dim = network["latent_dim"]
    is_dense = network["type"] == "dense"
    if kind == "vae" or (kind == "autoencoder" and not is_dense):
        network["latent_dim"] = None
    elif is_dense and kind != "autoencoder":
        network["latent_dim"] = _DENSE_VECTORS * latent_dim
    parts = build(network, "network", seed, image_shape=tuple(image_shape))
    determined: dict[str, Any] = {}
    if kind in ("vae", "autoencoder"):
        if not is_dense:
            parts = networks.flat_latent(parts, None if kind == "vae" else latent_dim)
        if kind == "vae":
            determined["latent_dim"] = latent_dim
    else:
        if is_dense:
            parts = _reshaped(parts, latent_dim)
        names = ("top_quantizer", "bottom_quantizer") if kind == "vqvae2" else ("quantizer",)
        for name in names:
            determined[name] = build(config["quantizer"], "quantizer", seed)
    if kind == "vqgan":
        determined["discriminator"] = build(
            config["discriminator"], "discriminator", seed, image_shape=tuple(image_shape)
        )
    if (kind == "vqvae2") != (network["type"] == "hierarchical"):
        raise ValueError(
            f"vqvae2 requires the network hierarchical, other models another one. Received: "
            f"--model {kind} --network {network['type']}"
        )
    return build(config["model"], "model", seed, **parts._asdict(), **determined)


def _reshaped(parts: networks.EncoderDecoder, latent_dim: int) -> networks.EncoderDecoder:
    """Returns dense networks with several latent vectors per image."""
    vectors = (_DENSE_VECTORS, latent_dim)
    layers = keras.layers
    shape = parts.encoder.input_shape[1:]
    return networks.EncoderDecoder(
        keras.Sequential(
            [keras.Input(shape), *parts.encoder.layers, layers.Reshape(vectors)], name="encoder"
        ),
        keras.Sequential(
            [keras.Input(vectors), layers.Flatten("channels_last"), *parts.decoder.layers],
            name="decoder",
        ),
    )


def initialize_codebook(model: keras.Model, config: Config, images: ImageDataset) -> None:
    """Initializes the codebooks of a model from latents, unless `training.adapt` is "none"."""
    start = config["training"]["adapt"]
    if start == "none":
        return
    sizes = [max(quantizer.codebook_sizes) for quantizer in figures.quantizers(model)]
    codes = model.encode(images.take(1).images)
    vectors_per_image = getattr(codes, "bottom", codes).size
    wanted = math.ceil(_VECTORS_PER_CODE * max(sizes) / vectors_per_image)
    order = np.random.default_rng(config["seed"]).permutation(len(images))[:wanted]
    chosen = np.divide(images.pixels[np.sort(order)], 255, dtype="float32")
    model.adapt(chosen, start, config["training"]["batch_size"])


def _is_adaptable(quantizer: Config) -> bool:
    parts = quantizer.get("quantizers", quantizer.get("quantizer"))
    parts = parts if isinstance(parts, list) else [parts]
    if quantizer.get("type") in ("residual_quantizer", "product_quantizer"):
        return all(isinstance(part, dict) and _is_adaptable(part) for part in parts)
    return quantizer.get("type") == "vector_quantizer"
