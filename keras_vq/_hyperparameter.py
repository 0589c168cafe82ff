"""Hyperparameters: scalars of a loss or an update rule that may change during training."""

from collections.abc import Callable
from typing import Any

import keras

from keras_vq import backend


class Hyperparameter:
    """Attribute descriptor for a scalar that compiled training steps read.

        class Penalty(ConfigurableLayer):
            weight = Hyperparameter(_validation.check_not_negative)

            def __init__(self, weight):
                super().__init__()
                self.weight = weight

    Outside a compiled step the attribute is a Python number. While a step is traced it is a
    float32 tensor, the value of a variable in the state of the step, so that an assignment affects
    the next step. A Python number would be a constant of the compiled step. The variable is not a
    weight; only `get_config` saves the value.

    Args:
        check: Callable that maps (name, value) to the validated number, such as
            `_validation.check_positive`.
        zero_is_off: Boolean. Whether a value of 0 in the constructor removes a part of the
            computation, so that assigning another value later raises an error. Defaults to `False`.
    """

    def __init__(self, check: Callable[[str, Any], Any], zero_is_off: bool = False) -> None:
        self.check = check
        self.zero_is_off = zero_is_off

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        scalar = vars(instance).get(_key(self.name))
        if scalar is None:
            raise AttributeError(
                f"`{self.name}` must be set in the constructor. Received: a "
                f"{type(instance).__name__} without it. Call the constructor of the base class."
            )
        return scalar.read()

    def __set__(self, instance: Any, value: Any) -> None:
        value = self.check(self.name, value)
        scalar = vars(instance).get(_key(self.name))
        if scalar is None:
            scalar = vars(instance)[_key(self.name)] = Scalar(self.name, value)
            if isinstance(instance, keras.Layer):
                scalar.bind()
        elif not scalar.is_bound:
            raise fixed_error(
                instance, self.name, value, "before it belongs to a layer of keras_vq"
            )
        elif self.zero_is_off and scalar.first == 0 and value != 0:
            raise fixed_error(instance, self.name, value, "if the constructor received 0")
        else:
            scalar.assign(value)


class Scalar:
    """Number with an optional variable, from which compiled steps read it."""

    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value, self.first = name, value, value
        self.is_bound = False
        self.variable: Any = None

    def bind(self) -> None:
        """Creates the variable."""
        if not self.is_bound:
            self.is_bound = True
            self.variable = backend.step_variable(self.name, float(self.value))

    def read(self) -> Any:
        """Returns the number, or a tensor while a step is traced."""
        if self.variable is None:
            return self.value
        traced = backend.traced_value(self.variable)
        return self.value if traced is None else traced

    def assign(self, value: Any) -> None:
        """Assigns a value to the number and to its variable."""
        if self.variable is not None:
            if backend.has_detached_value(self.variable):
                raise RuntimeError(
                    f"`{self.name}` must be assigned between training steps. Received: an "
                    "assignment during a training step of `fit`. In a callback, access the object "
                    "through `self.model`."
                )
            self.variable.assign(float(value))
        self.value = value

    def __reduce__(self) -> Any:  # a copy has its own variable
        return _scalar, (self.name, self.value, self.is_bound)


def _scalar(name: str, value: Any, is_bound: bool) -> Scalar:
    scalar = Scalar(name, value)
    if is_bound:
        scalar.bind()
    return scalar


def _key(name: str) -> str:
    return f"_scalar_{name}"


def fixed_error(instance: Any, name: str, value: Any, when: str) -> AttributeError:
    kind = type(instance).__name__
    return AttributeError(
        f"`{name}` of a {kind} must not be assigned {when}, because a compiled training step would "
        f"ignore the change. Received: {value!r}. Construct another {kind} with this `{name}`."
    )
