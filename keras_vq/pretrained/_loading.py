"""Loading of pretrained models of other libraries."""

import os
from typing import Any, get_args

from keras_vq import _validation
from keras_vq._types import Shape
from keras_vq.models.base import TrainableParts
from keras_vq.models.loading import Weights, limited_weights
from keras_vq.pretrained import _hub, _source, _tensors
from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._families import FAMILIES
from keras_vq.pretrained._family import Config, Family, Tensors


def from_pretrained(
    source: str | os.PathLike[str],
    config: Config | str | os.PathLike[str] | None = None,
    input_shape: Shape | None = None,
    trainable: TrainableParts = "all",
    stages: int | None = None,
    bandwidth: float | None = None,
) -> Any:
    """Loads a pretrained model of another library as a model of this package.

    Codes and outputs are those of the source. Images are float32 in [0, 1], channels last, and
    sound is `(batch, samples, channels)`: the model itself maps them to the value range of the
    source. `model.provenance` records the source, the family and the preprocessing.

    Args:
        source: String or path. A folder with `config.json` and safetensors files, or with such a
            folder as `vae`, `vqvae` or `movq`; one .safetensors file; or
            `hf://owner/name[@revision][/subfolder or file]`, which needs the extra `hub` and uses
            the cache, the token and the environment variables of `huggingface_hub`. Pickle files
            are refused.
        config: Dictionary, or path of a JSON file, that replaces the `config.json` in the folder of
            the weights. Defaults to `None`.
        input_shape: Tuple. Shape of one input, such as `(256, 256, 3)`, which `export` and
            `codec.ImageCodec` require. Defaults to `None`, for inputs of any size that the strides
            divide, and sound of any length.
        trainable: String. `"all"`, `"decoder"` to freeze all other parts, so that training does not
            change codes, or `"none"`. It sets `model.trainable_parts`. Defaults to `"all"`.
        stages: Integer. Number of residual stages of a codec of sound. The first ones are used.
            Defaults to `None`, for all stages.
        bandwidth: Float. Kilobits per second of a codec of sound, instead of `stages`. Defaults to
            `None`.

    Returns:
        A model that is not compiled: a `VQVAE`, `VAE`, `Autoencoder`, or the model of the family.

    Raises:
        ConversionError: If the source can't be read or represented, or tensors are missing,
            surplus or misshapen. It is a subclass of `ValueError`.
        ValueError: If the family has no `stages`, or they are out of range.
        ImportError: If the extra `hub` is not installed.

    Example:
        >>> import keras_vq
        >>> model = keras_vq.from_pretrained("hf://owner/name")  # doctest: +SKIP
        >>> codes = model.encode(images)  # doctest: +SKIP
    """
    _validation.check_choice("trainable", trainable, get_args(TrainableParts))
    if stages is not None:
        _validation.check_positive_integer("stages", stages)
    if bandwidth is not None:
        _validation.check_positive("bandwidth", bandwidth)
    known, tensors = _source.read(_hub.local_path(source), config)
    family = _family_of(known, set(tensors), source)
    given = {"stages": stages, "bandwidth": bandwidth}
    options = {name: value for name, value in given.items() if value is not None}
    unused = [name for name in options if name not in family.options]
    if unused:
        raise ValueError(
            f"`{unused[0]}` must be `None` for a {family.name}, which has no residual stages. "
            f"Received: {options[unused[0]]}"
        )
    tensors = family.prepare(tensors)
    provenance = {"source": os.fspath(source), "family": family.name}
    model = _built(family, known, tensors, input_shape, provenance, options)
    _tensors.assign(family.name_map(model), tensors, family.ignored)
    if trainable != "all":
        model.trainable_parts = trainable
    return model


def _built(
    family: Family,
    config: Config,
    tensors: Tensors,
    input_shape: Shape | None,
    provenance: dict[str, Any],
    options: dict[str, Any],
) -> Any:
    """Builds a model, with no more weights than the tensors justify."""
    held = Weights(len(tensors), sum(tensor.size for tensor in tensors.values()))
    problems: list[str] = []
    try:
        with limited_weights(held) as problems:
            return family.build(config, tensors, input_shape, provenance, **options)
    except ConversionError:
        raise
    except ValueError as error:  # of networks and layers, about their arguments
        reason = problems[0] if problems else error
        raise ConversionError(
            f"The configuration must be that of a {family.name}, and fit the tensors. "
            f"Received: {reason}"
        ) from error


def _family_of(config: Config, names: set[str], source: Any) -> Family:
    for family in FAMILIES:
        if family.matches(config, names):
            return family
    kind = config.get("_class_name") or config.get("model_type") or "no class name"
    known = ", ".join(family.name for family in FAMILIES)
    raise ConversionError(
        f"The source must be a model of a known family: {known}. Pass `config` for a single file. "
        f"Received: {os.fspath(source)!r} with {kind} and tensors such as "
        f"{', '.join(sorted(names)[:3])}"
    )
