"""Lookup of parts of models by snake_case name or configuration, as in `keras.losses.get`."""

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from keras_vq._spelling import did_you_mean


class Registry:
    """The classes and functions of one namespace, by their snake_case names.

    Args:
        kind: String. Name of the argument that takes them, for error messages.
        members: Classes, and functions, of the namespace.
        base: Class or tuple of classes of valid objects, or `None` for any callable.
    """

    def __init__(self, kind: str, members: Iterable[Any], base: Any = None) -> None:
        self.kind = kind
        self.members: Mapping[str, Any] = {snake_case(member): member for member in members}
        self.base = base

    def get(self, identifier: Any, **arguments: Any) -> Any:
        """Returns the object of a name or configuration; passes objects and `None` through.

        Args:
            identifier: Snake_case name, configuration, object or `None`.
            **arguments: Constructor arguments of a class that is given by its name.

        Raises:
            ValueError: If the name is unknown, the class needs more arguments, or the object is of
                another kind.

        Example:
            >>> import keras_vq
            >>> keras_vq.losses.get("commitment_loss")
            <...CommitmentLoss object at ...>
            >>> keras_vq.codebooks.get("ema_codebook", codebook_size=8).codebook_size
            8
        """
        if identifier is None:
            return None
        if isinstance(identifier, dict):
            return self.deserialize(identifier)
        if isinstance(identifier, str):
            return self._create(identifier, arguments)
        if self.base is None:
            is_valid = callable(identifier) or type(identifier) in self.members.values()
        else:
            is_valid = isinstance(identifier, self.base)
        if not is_valid or inspect.isclass(identifier):
            raise ValueError(
                f"`{self.kind}` must be one of {sorted(self.members)}, or an object of that kind. "
                f"Received: {identifier!r}"
            )
        return identifier

    def _create(self, name: str, arguments: dict[str, Any]) -> Any:
        member = self.members.get(name)
        if member is None:
            hint = did_you_mean(name, self.members)
            raise ValueError(
                f"`{self.kind}` must be one of {sorted(self.members)}. Received: {name!r}.{hint}"
            )
        if not inspect.isclass(member):
            return member
        parameters = inspect.signature(member.__init__).parameters
        missing = [
            key
            for key, parameter in list(parameters.items())[1:]
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            and key not in arguments
        ]
        if missing:
            raise ValueError(
                f"{member.__name__} requires {', '.join(missing)}. Received: "
                f"{self.kind}={name!r}. Pass an object: {member.__name__}({missing[0]}=...)."
            )
        return member(**arguments)

    def serialize(self, instance: Any) -> Any:
        """Returns the configuration of an object.

        Example:
            >>> import keras_vq
            >>> config = keras_vq.losses.serialize(keras_vq.losses.CommitmentLoss())
            >>> config["class_name"]
            'CommitmentLoss'
        """
        return keras.saving.serialize_keras_object(instance)

    def deserialize(self, config: Any, custom_objects: Any = None) -> Any:
        """Creates the object of a configuration.

        Example:
            >>> import keras_vq
            >>> config = keras_vq.losses.serialize(keras_vq.losses.CommitmentLoss())
            >>> keras_vq.losses.deserialize(config)
            <...CommitmentLoss object at ...>
        """
        return keras.saving.deserialize_keras_object(config, custom_objects=custom_objects)


def snake_case(member: Any) -> str:
    """Returns the snake_case name of a class, function or name, e.g. `ema_codebook`."""
    name = member if isinstance(member, str) else member.__name__
    words = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()
