"""Hyperparameters: scalars of a loss or an update rule that may change during training."""

import inspect
from collections.abc import Callable
from typing import Any

import keras

from keras_vq import _backend


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
            scalar = vars(instance)[_key(self.name)] = _Scalar(self.name, value)
            if isinstance(instance, keras.Layer):
                scalar.bind()
        elif not scalar.is_bound:
            raise _fixed(instance, self.name, value, "before it is part of a layer of keras_vq")
        elif self.zero_is_off and scalar.first == 0 and value != 0:
            raise _fixed(instance, self.name, value, "where the constructor was given 0")
        else:
            scalar.assign(value)


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
    """Mixin for objects with constructor arguments that compiled training steps depend on.

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

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) and name in self._fixed_arguments:
            old = vars(self)[name]
            if value is not old and not isinstance(old, keras.Layer):
                raise _fixed(self, name, value, "after construction")
        super().__setattr__(name, value)
        if isinstance(value, Configurable) and isinstance(self, keras.Layer):
            value.bind_hyperparameters()

    def bind_hyperparameters(self) -> None:
        """Creates variables for the hyperparameters of an object that is part of a layer."""
        for value in _values(self):
            if isinstance(value, _Scalar):
                value.bind()

    def step_variables(self) -> list[Any]:
        """Returns the hyperparameter variables of this object and of its non-layer attributes."""
        found = []
        for value in _values(self):
            if isinstance(value, _Scalar) and value.variable is not None:
                found.append(value.variable)
            elif isinstance(value, Configurable) and not isinstance(value, keras.Layer):
                found += value.step_variables()
        return found


class ConfigurableLayer(Configurable, keras.Layer):
    """Keras layer whose hyperparameters are variables, but not weights."""

    @property
    def variables(self) -> list[Any]:
        """Variables of the layer: weights, states of random generators, and hyperparameters."""
        variables = super().variables
        known = {id(variable) for variable in variables}
        own = {id(variable): variable for variable in self.step_variables()}
        return variables + [variable for place, variable in own.items() if place not in known]


class _Scalar:
    """Number with an optional variable, from which compiled steps read it."""

    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value, self.first = name, value, value
        self.is_bound = False
        self.variable: Any = None

    def bind(self) -> None:
        """Creates the variable."""
        if not self.is_bound:
            self.is_bound = True
            self.variable = _backend.step_variable(self.name, float(self.value))

    def read(self) -> Any:
        """Returns the number, or a tensor while a step is traced."""
        if self.variable is None:
            return self.value
        traced = _backend.traced_value(self.variable)
        return self.value if traced is None else traced

    def assign(self, value: Any) -> None:
        """Assigns a value to the number and to its variable."""
        if self.variable is not None:
            if _backend.is_lent_to_step(self.variable):
                raise RuntimeError(
                    f"`{self.name}` must be assigned between training steps. Received: an "
                    "assignment while `fit` holds the state of the model. In a callback, reach "
                    "the object through `self.model`."
                )
            self.variable.assign(float(value))
        self.value = value

    def __reduce__(self) -> Any:  # a copy has its own variable
        return _scalar, (self.name, self.value, self.is_bound)


def _scalar(name: str, value: Any, is_bound: bool) -> _Scalar:
    scalar = _Scalar(name, value)
    if is_bound:
        scalar.bind()
    return scalar


def _key(name: str) -> str:
    return f"_scalar_{name}"


def _values(instance: Any) -> list[Any]:
    return list(vars(instance).values())


def _fixed(instance: Any, name: str, value: Any, when: str) -> AttributeError:
    kind = type(instance).__name__
    return AttributeError(
        f"`{name}` of a {kind} must not be assigned {when}: a compiled training step would not "
        f"see the change. Received: {value!r}. Construct another {kind} with this `{name}`."
    )
