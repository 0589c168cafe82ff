"""What all that is fitted shares: models of images, and priors over their codes."""

import copy
import functools
import warnings
from collections.abc import Callable
from typing import Any, Self

import keras
import numpy as np

from keras_vq import _backend, _validation
from keras_vq._fingerprint import store_fingerprint
from keras_vq._finite_loss import FiniteLoss
from keras_vq._hyperparameter import ConfigurableLayer
from keras_vq._non_finite import NonFiniteWeightsWarning, warn_of_non_finite
from keras_vq._prompt_model import PromptModel
from keras_vq._types import Tensor

# Batches from which a user would wonder, and sees a bar.
_BATCHES_WITHOUT_BAR = 200
_RANDOM_STATE = "random_state_"


class Model(ConfigurableLayer, PromptModel):
    """A Keras model that notices NaN, keeps its weights through errors, and saves all its state.

    Args:
        **kwargs: Arguments of `keras.Model`.
    """

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the model; takes what `keras.Model.fit` takes.

        Args:
            x: Data, or a data set.
            y: Targets.
            batch_size: Rows of a step, 32 when None; left out where `x` yields batches.
            epochs: Passes through the data.
            **kwargs: `validation_data`, `callbacks`, `verbose` and so on.

        Returns:
            The history: every logged figure, by epoch.

        Raises:
            ValueError: If the loss stops being finite.
        """
        callbacks = kwargs.pop("callbacks", None)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            # The first, so that no checkpoint is overwritten with weights that are lost.
            callbacks = [FiniteLoss(), *_as_list(callbacks)]
        with _backend.kept_weights(self):
            return super().fit(x, y, batch_size, epochs, callbacks=callbacks, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """What the model scores on data; takes what `keras.Model.evaluate` takes."""
        with _backend.kept_weights(self):
            return super().evaluate(x, y, **kwargs)

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """What `call` returns for data; takes what `keras.Model.predict` takes."""
        with _backend.kept_weights(self):
            return super().predict(x, **kwargs)

    def make_train_function(self, force: bool = False) -> None:
        """Makes the function of a training step; see `keras.Model.make_train_function`."""
        _backend.build_optimizer(self)
        super().make_train_function(force)

    def apply_in_batches(
        self,
        method: str,
        inputs: Any,
        batch_size: int,
        batches_without_bar: int = _BATCHES_WITHOUT_BAR,
        **options: Any,
    ) -> Any:
        """Applies a method of one batch to arrays, compiled, a batch at a time.

        Args:
            method: Name of a method of a batch; it changes no state.
            inputs: An array, or a dictionary of arrays, of one length.
            batch_size: Rows computed at a time.
            batches_without_bar: Up to how many batches nothing is printed.
            **options: Further arguments of the method; it is compiled for each choice of them.

        Returns:
            What the method returned, joined over the batches: NumPy arrays.
        """
        _validation.check_positive_integer("batch_size", batch_size)
        rows = len(next(iter(inputs.values()))) if isinstance(inputs, dict) else inputs.shape[0]
        verbose = 1 if rows > batches_without_bar * batch_size else 0
        function = self._batch_function(method, options)
        if rows == 0:
            return of_no_rows(function.predict, inputs, verbose=0)
        with _backend.kept_weights(function):
            return function.predict(inputs, batch_size=batch_size, verbose=verbose)

    def apply_to_batch(self, method: str, inputs: Any, **options: Any) -> Any:
        """Applies a method of one batch to one batch, compiled.

        Args:
            method: Name of a method of a batch; it changes no state.
            inputs: Nested arrays, of any number of rows each.
            **options: Further arguments of the method; it is compiled for each choice of them.

        Returns:
            What the method returned: NumPy arrays, nested likewise.
        """
        return _backend.apply_to_batch(self._batch_function(method, options), inputs)

    def _batch_function(self, method: str, options: dict[str, Any]) -> "_BatchFunction":
        functions = self.__dict__.setdefault("_batch_functions", {})
        key = (method, *sorted(options.items()))
        if key not in functions:
            functions[key] = _BatchFunction(self, method, options)
        return functions[key]

    def save(
        self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any
    ) -> None:
        """Saves the model; takes what `keras.Model.save` takes.

        A `.keras` file also gets the fingerprint of the weights, by which a `.keras` file is found
        that a compressed file was made with.
        """
        super().save(filepath, overwrite, zipped, **kwargs)
        store_fingerprint(self, filepath)

    def save_own_variables(self, store: Any) -> None:
        """Saves, with what Keras does, the states of all random generators.

        Keras leaves them out, so that training taken up again would draw what it drew before.
        """
        super().save_own_variables(store)
        for index, state in enumerate(self._random_states()):
            store[f"{_RANDOM_STATE}{index}"] = state

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Loads weights from a file, with a warning if they hold NaN or infinity.

        Takes what `keras.Model.load_weights` takes.
        """
        with warnings.catch_warnings():
            # Of parts; the whole model is checked once.
            warnings.simplefilter("ignore", NonFiniteWeightsWarning)
            super().load_weights(filepath, skip_mismatch, **kwargs)
        warn_of_non_finite(self)

    def load_own_variables(self, store: Any) -> None:
        """Loads what `save_own_variables` saved."""
        own = {key: store[key] for key in store.keys()}  # noqa: SIM118 - not a mapping
        saved = {key: own.pop(key) for key in list(own) if key.startswith(_RANDOM_STATE)}
        super().load_own_variables(own)
        states = self._random_states()
        # Files of weights from elsewhere have none; a model without some generators has fewer.
        if len(saved) == len(states):
            for index, state in enumerate(states):
                # Backends keep it as integers of different types.
                value = np.asarray(saved[f"{_RANDOM_STATE}{index}"])
                state.assign(value.astype(keras.backend.standardize_dtype(state.dtype)))

    def _random_states(self) -> list[Any]:
        return [variable for variable in self.variables if variable.name == "seed_generator_state"]

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """The model of a configuration, its parts with it."""
        # A copy: Keras takes the configuration of a functional model apart.
        config = {
            key: keras.saving.deserialize_keras_object(
                copy.deepcopy(value), custom_objects=custom_objects
            )
            if isinstance(value, dict) and "class_name" in value
            else value
            for key, value in config.items()
        }
        return cls(**config)


class _BatchFunction(PromptModel):
    """One method of a model as a model of its own, for `predict` to batch and compile."""

    def __init__(self, owner: Model, method: str, options: dict[str, Any]) -> None:
        # Layers cast their inputs themselves; random numbers and caches must stay as they are.
        super().__init__(name=f"{owner.name}_{method}", autocast=False)
        self.owner = owner
        self.function = functools.partial(getattr(owner, method), **options)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """Applies the method."""
        return self.function(inputs)


def of_no_rows(function: Callable[..., Any], inputs: Any, **options: Any) -> Any:
    """Returns empty results of a function of arrays, with the shapes and types of others.

    Args:
        function: Takes nested arrays, and returns nested arrays of as many rows.
        inputs: Nested arrays without rows.
        **options: Further arguments of the function.
    """
    one_row = keras.tree.map_structure(
        lambda array: np.zeros((1, *array.shape[1:]), keras.backend.standardize_dtype(array.dtype)),
        inputs,
    )
    return keras.tree.map_structure(lambda rows: rows[:0], function(one_row, **options))


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
