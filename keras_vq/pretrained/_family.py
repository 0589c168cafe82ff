"""Interface of the converters, one for each family of models."""

import reprlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vq._types import Shape
from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._tensors import NameMap

Config = dict[str, Any]
Tensors = Mapping[str, np.ndarray]

# Limits of configurations, far above those of published models. The number of values in all weights
# is limited by the tensors of the source.
MAX_BLOCKS = 100
MAX_LEVELS = 16
MAX_INTEGER = 2**24
MAX_WORDS = 200
_COUNTS = (
    "layers_per_block",
    "n_codebooks",
    "num_decoder_blocks",
    "num_encoder_blocks",
    "num_lstm_layers",
    "num_residual_layers",
)


class Family(NamedTuple):
    """Converter of one family of models.

    Args:
        name: String. Name of the family, which is recorded in the model.
        matches: Function `(config, names)` that returns whether a configuration and tensor names
            are of this family.
        build: Function `(config, tensors, input_shape, provenance, **options)` that returns a built
            model. It raises a `ConversionError` for a configuration that it can't represent, and
            adds its preprocessing to `provenance`, the dictionary that the model records.
        name_map: Function `(model)` that returns the name map of the model.
        prepare: Function `(tensors)` that renames or combines tensors, e.g. folds weight
            normalization. Defaults to the identity.
        ignored: Regular expressions of names of tensors that are not weights. Defaults to none.
        to_source: Function `(model)` that returns the configuration of the source and the name map
            for writing, or raises a `ConversionError`. Defaults to `None`: models can't be written.
        model_class: Class of the models that `to_source` takes. Defaults to `None`.
        options: Names of the arguments of `from_pretrained` that `build` takes as `options`.
            Defaults to none.
    """

    name: str
    matches: Callable[[Config, Collection[str]], bool]
    build: Callable[..., keras.Model]
    name_map: Callable[[Any], NameMap]
    prepare: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = lambda tensors: tensors
    ignored: tuple[str, ...] = ()
    to_source: Callable[[Any], tuple[Config, NameMap]] | None = None
    model_class: type | None = None
    options: tuple[str, ...] = ()


def has_entry(name: str, value: Any) -> Callable[[Config, Collection[str]], bool]:
    """Returns a function `matches` of a family that one entry of the configuration identifies."""
    return lambda config, names: config.get(name) == value


def filled(config: Config, defaults: Config, family: str) -> Config:
    """Returns a configuration with defaults, after checking the type and size of each entry.

    Args:
        config: Configuration of the source.
        defaults: Default of each entry: a positive integer, a float, a boolean, a string, a tuple
            of one of these, or `None` for an entry that is a number or `None`.
        family: Name of the family in the error message.

    Raises:
        ConversionError: If an entry is of another type than its default, or too large.
    """
    given = {**defaults, **config}
    for name, default in defaults.items():
        most = MAX_BLOCKS if name in _COUNTS else MAX_INTEGER
        if not _is_like(given[name], default, most):
            raise ConversionError(
                f"A {family} must have a configuration with `{name}` of the type of {default!r}, "
                f"integers from 1 to {most:,} and at most {MAX_LEVELS} entries. "
                f"Received: {name}={shortened(given[name])}"
            )
    return given


def _is_like(value: Any, default: Any, most: int) -> bool:
    """Returns whether a value has the type of a default and allowed sizes."""
    if isinstance(default, tuple):
        is_sequence = isinstance(value, (list, tuple)) and 1 <= len(value) <= MAX_LEVELS
        return is_sequence and all(_is_like(entry, default[0], most) for entry in value)
    if default is None and value is None:
        return True
    if isinstance(default, (bool, str)):
        return isinstance(value, type(default))
    if isinstance(default, int):
        return type(value) is int and 1 <= value <= most
    # A comparison, because very large integers can't be converted to float.
    return type(value) in (int, float) and abs(value) < 1e30


def shortened(value: Any) -> str:
    """Returns the representation of a value from a file, for an error message."""
    text = reprlib.repr(value)
    return text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS]}..."


def check_fixed(config: Config, fixed: Mapping[str, Any], family: str) -> None:
    """Checks entries of a configuration for which only some values can be represented.

    Args:
        config: Configuration of the source.
        fixed: Dictionary of the only possible value, or of a tuple of possible values, by name of
            the entry. A missing entry passes.
        family: Name of the family in the error message.

    Raises:
        ConversionError: If an entry has another value.
    """
    for name, allowed in fixed.items():
        options = allowed if isinstance(allowed, tuple) else (allowed,)
        if name in config and config[name] not in options:
            listed = " or ".join(repr(option) for option in options)
            raise ConversionError(
                f"A {family} must have `{name}` = {listed}, because other values are not "
                f"supported. Received: {name}={shortened(config[name])}"
            )


def config_shape(
    input_shape: Shape | None, channels: int, axes: tuple[str, ...] = ("height", "width")
) -> Any:
    """Returns the shape of inputs: the given one, or that of inputs of any size.

    Args:
        input_shape: Tuple or `None`. The given shape.
        channels: Integer. Number of channels of the source.
        axes: Tuple of strings. Names of the other axes. Defaults to those of images.

    Raises:
        ConversionError: If the given shape has other axes or channels than the source.
    """
    if input_shape is None:
        return (*(None for _ in axes), channels)
    shape = tuple(input_shape)
    if len(shape) != len(axes) + 1 or shape[-1] != channels:
        raise ConversionError(
            f"`input_shape` must be ({', '.join(axes)}, {channels}), with the channels of the "
            f"source. Received: {input_shape!r}"
        )
    return shape
