"""Base classes of objects that record their constructor arguments as their configuration."""

import copy
import functools
import inspect
from typing import Any, Self

import keras

from keras_vq._hyperparameter import Hyperparameter, Scalar, fixed_error
from keras_vq._spelling import did_you_mean

_SHARED = "shared_objects"
# Names of other libraries, and of the papers, for arguments of this package.
_NAMES_ELSEWHERE = {
    "beta": "commitment_weight",
    "commitment": "commitment_weight",
    "commitment_cost": "commitment_weight",
    "components": "n_components",
    "depth": "num_layers",
    "dim": "hidden_dim",
    "dropout_rate": "dropout",
    "entropy": "entropy_loss",
    "entropy_weight": "entropy_loss",
    "heads": "num_heads",
    "intermediate_dim": "mlp_ratio",
    "kl": "kl_weight",
    "n_embed": "codebook_size",
    "n_heads": "num_heads",
    "n_layers": "num_layers",
    "num_codes": "codebook_size",
    "num_embeddings": "codebook_size",
    "vocab_size": "codebook_size",
}
_DIMENSIONS = ("code_dim", "codebook_dim", "dim", "embedding_dim")


def _fixed_arguments(cls: type) -> frozenset[str]:
    """Returns the constructor arguments of a class that can be set only once."""
    names: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "keras_vq" and "__init__" in vars(base):
            names |= set(inspect.signature(vars(base)["__init__"]).parameters)
    return frozenset(
        name for name in names if not isinstance(getattr(cls, name, None), Hyperparameter)
    )


class Configurable:
    """Mixin for objects whose configuration is the record of their constructor arguments.

    A `Hyperparameter` of a layer, or of a plain object in an attribute of a layer, may be assigned
    between training steps. Any other constructor argument can be set only once: a second assignment
    raises an `AttributeError`, because a compiled step would ignore it. Arguments that are layers,
    and arguments of classes outside this package, are not checked.
    """

    _fixed_arguments: frozenset[str] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Here and not on demand, because torch.compile traces assignments inside a step.
        cls._fixed_arguments = _fixed_arguments(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Creates the object and records its constructor arguments."""
        _check_names(cls, kwargs)
        new = super().__new__
        instance = new(cls) if new is object.__new__ else new(cls, *args, **kwargs)
        vars(instance)["_arguments"] = _arguments(cls, args, kwargs)
        return instance

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) and name in self._fixed_arguments:
            old = vars(self)[name]
            if value is not old and not isinstance(old, keras.Layer):
                raise fixed_error(self, name, value, "after construction")
        super().__setattr__(name, value)
        if isinstance(value, Configurable) and isinstance(self, keras.Layer):
            value._bind_hyperparameters()

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments, with the current values of hyperparameters."""
        return {
            name: _serialized(getattr(self, name) if _is_assignable(self, name) else value)
            for name, value in vars(self)["_arguments"].items()
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Creates an object, with nested objects, from its configuration."""
        return cls(**deserialized(config))

    def _bind_hyperparameters(self) -> None:
        """Creates variables for the hyperparameters of an object that is part of a layer."""
        for value in list(vars(self).values()):
            if isinstance(value, Scalar):
                value.bind()

    def _step_variables(self) -> list[Any]:
        """Returns the hyperparameter variables of this object and of its non-layer attributes."""
        found = []
        for value in list(vars(self).values()):
            if isinstance(value, Scalar) and value.variable is not None:
                found.append(value.variable)
            elif isinstance(value, Configurable) and not isinstance(value, keras.Layer):
                found += value._step_variables()
        return found


class ConfigurableLayer(Configurable, keras.Layer):
    """Keras layer whose hyperparameters are variables, but not weights."""

    @property
    def variables(self) -> list[Any]:
        """Variables of the layer: weights, states of random generators, and hyperparameters."""
        variables = super().variables
        known = {id(variable) for variable in variables}
        own = {id(variable): variable for variable in self._step_variables()}
        return variables + [variable for place, variable in own.items() if place not in known]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments, with those of `keras.Layer`."""
        return {**Configurable.get_config(self), **keras.Layer.get_config(self)}


def deserialized(config: dict[str, Any], custom_objects: Any = None) -> dict[str, Any]:
    """Returns the constructor arguments of a configuration."""
    return {
        # Copied, because Keras modifies the configuration of a functional model.
        name: _deserialized(copy.deepcopy(value), custom_objects)
        for name, value in config.items()
    }


def _arguments(cls: type, args: Any, kwargs: Any) -> dict[str, Any]:
    """Returns the arguments of a constructor call, with defaults, by their names."""
    signature = _signature(cls)
    try:
        bound = signature.bind(None, *args, **kwargs)
    except TypeError:
        return {}  # A copy is created without arguments, or the constructor raises the error.
    bound.apply_defaults()
    arguments = dict(list(bound.arguments.items())[1:])
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(name))
    return arguments


def _signature(cls: Any) -> inspect.Signature:
    return inspect.signature(cls.__init__)


def _parameters(cls: type) -> set[str]:
    """Returns the names of the constructor arguments of a class and its bases."""
    classes = [base for base in cls.__mro__ if "__init__" in vars(base)]
    return {name for base in classes for name in _signature(base).parameters}


def _check_names(cls: type, kwargs: dict[str, Any]) -> None:
    """Checks the names of keyword arguments.

    Raises:
        TypeError: If the class has no such argument; names those of other libraries.
    """
    known = _parameters(cls) if kwargs else set()
    known |= {"input_shape", "input_dim", "batch_size", "weights"}
    for name, value in kwargs.items():
        if name in known:
            continue
        right = _NAMES_ELSEWHERE.get(name)
        own = set(_signature(cls).parameters)
        if right in own:
            hint = f" Use `{right}`."
        elif name in _DIMENSIONS:
            hint = " The dimension of the code vectors is inferred from the inputs."
        else:
            hint = did_you_mean(name, own - {"self", "kwargs"})
        raise TypeError(
            f"{cls.__name__} has no argument `{name}`. Received: {name}={value!r}.{hint}"
        )


def _is_assignable(instance: Any, name: str) -> bool:
    attribute = inspect.getattr_static(type(instance), name, None)
    has_setter = isinstance(attribute, property) and attribute.fset is not None
    return has_setter or isinstance(attribute, Hyperparameter)


def _serialized(value: Any) -> Any:
    """Returns a JSON-compatible configuration, which preserves layers that a list repeats."""
    if isinstance(value, list | tuple) and any(isinstance(item, keras.Layer) for item in value):
        distinct = list({id(item): item for item in value}.values())
        if len(distinct) < len(value):
            places = {id(item): place for place, item in enumerate(distinct)}
            objects = [keras.saving.serialize_keras_object(item) for item in distinct]
            return {_SHARED: objects, "order": [places[id(item)] for item in value]}
    if isinstance(value, tuple):
        value = list(value)  # as it is in a file
    return keras.saving.serialize_keras_object(value)


def _deserialized(value: Any, custom_objects: Any) -> Any:
    deserialize = functools.partial(
        keras.saving.deserialize_keras_object, custom_objects=custom_objects
    )
    if isinstance(value, dict) and set(value) == {_SHARED, "order"}:
        objects = [deserialize(item) for item in value[_SHARED]]
        return [objects[place] for place in value["order"]]
    return deserialize(value)
