"""Base class of all trainable models."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, Self

import keras
import numpy as np

from keras_vq import _validation, backend
from keras_vq._configurable import ConfigurableLayer, deserialized
from keras_vq._fingerprint import store_fingerprint
from keras_vq._finite_loss import FiniteLoss
from keras_vq._non_finite import NonFiniteWeightsWarning, warn_of_non_finite
from keras_vq._types import Tensor

# A progress bar is shown above this number of batches.
_BATCHES_WITHOUT_BAR = 200
_RANDOM_STATE = "random_state_"


class _ModelWithoutAutotune(keras.Model):
    """`keras.Model` without the shutdown delay of `tf.data` autotuning on TensorFlow."""

    @property
    def distribute_strategy(self) -> Any:
        """The `tf.distribute.Strategy` of the model, on TensorFlow."""
        return backend.strategy_without_autotune(super().distribute_strategy)


class Model(ConfigurableLayer, _ModelWithoutAutotune):
    """Keras model that stops training on NaN and saves the states of its random generators.

    On JAX, a model also keeps its weights when an error or an interrupt ends a training loop.

    Args:
        **kwargs: Arguments of `keras.Model`.
    """

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: Any = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> keras.callbacks.History:
        """Trains the model. Takes the arguments of `keras.Model.fit`.

        Args:
            x: Inputs of shape `(n, ...)`, or a dataset: a `keras.utils.PyDataset`, a
                `tf.data.Dataset`, a PyTorch `DataLoader`, an `ImageDataset` of `keras_vq.data`, or
                a generator of batches. A prior takes codes, the output of `as_inputs`, or a dataset
                of batches of them.
            y: Targets, e.g. for denoising. Defaults to `None`: the inputs are the targets. `None`
                for a prior.
            batch_size: Integer or `None`. Batch size of arrays and of an `ImageDataset`; do not set
                it if `x` yields batches. Defaults to `None`, which means 32.
            epochs: Integer. Number of passes over the data. Defaults to 1.
            verbose: See `keras.Model.fit`, as for all other arguments.
            callbacks: List of callbacks. Defaults to `None`.
            validation_split: Float. Share of the arrays, from the end, to evaluate after each
                epoch. Defaults to 0.
            validation_data: Inputs or `(x, y)` to evaluate after each epoch, or a dataset; `(x,
                None)` or a dataset for a prior. Defaults to `None`.
            shuffle: Boolean. Whether to shuffle arrays in each epoch. Defaults to `True`.
            class_weight: Dictionary or `None`. Weights of classes. Defaults to `None`.
            sample_weight: Weights of the inputs in the reconstruction term, or of the code grids of
                a prior, of shape `(n,)`, or `None`. Defaults to `None`.
            initial_epoch: Integer. Epoch at which to resume training. Defaults to 0.
            steps_per_epoch: Integer or `None`. Number of batches per epoch. Defaults to `None`:
                all of them.
            validation_steps: Integer or `None`. Number of batches per evaluation. Defaults to
                `None`: all of them.
            validation_batch_size: Integer or `None`. Defaults to `None`, which means `batch_size`.
            validation_freq: Integer. Number of epochs per evaluation. Defaults to 1.

        Returns:
            A `keras.callbacks.History` with every logged value of each epoch, such as the terms of
            the loss.

        Raises:
            NonFiniteLossError: If the loss becomes NaN or infinite. It is a subclass of
                `ValueError`.
            ValueError: If there are no inputs, or their shape differs from the shape the model was
                built for; if inputs or targets contain NaN or infinity; if the targets are labels,
                or exceed the output range of the decoder; if the loss is a likelihood and the
                targets are not in [0, 1], or the outputs of the decoder are clipped or exceed
                [0, 1]; or if the codes of a prior have a wrong shape or range.
        """
        return self._run_fit(_without_self(locals()))

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Computes the loss and metrics. Takes the arguments of `keras.Model.evaluate`.

        Args:
            x: Inputs or codes, in the form that `fit` takes.
            y: Targets. Defaults to `None`: the inputs are the targets. `None` for a prior.
            batch_size: Integer or `None`. Defaults to `None`, which means 32.
            verbose: See `keras.Model.evaluate`, as for all other arguments.
            sample_weight: Weights, as for `fit`. Defaults to `None`.
            steps: Integer or `None`. Number of batches. Defaults to `None`: all of them.
            callbacks: List of callbacks. Defaults to `None`.
            return_dict: Boolean. Whether to return a dictionary. Defaults to `False`.
            **kwargs: Private arguments of Keras.

        Returns:
            A list of scalars, or a dictionary of scalars by name if `return_dict=True`.

        Raises:
            ValueError: As for `fit`.
        """
        return self._run_evaluate(_without_self(locals()))

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """Computes the outputs of `call` in batches. Takes the arguments of `keras.Model.predict`.

        Args:
            x: Inputs or codes, in the form that `fit` takes.
            batch_size: Integer or `None`. Defaults to `None`, which means 32.
            verbose: See `keras.Model.predict`, as for all other arguments.
            steps: Integer or `None`. Number of batches. Defaults to `None`: all of them.
            callbacks: List of callbacks. Defaults to `None`.

        Returns:
            The outputs of `call` as NumPy arrays. Those of a model of inputs have no rows if `x`
            has none.

        Raises:
            ValueError: If the inputs are an array of another shape, or contain NaN or infinity.
        """
        return self._run_predict(_without_self(locals()))

    # `fit`, `evaluate` and `predict` pass all arguments to these methods, which subclasses override
    # to check and convert the data.

    def _run_fit(self, arguments: dict[str, Any]) -> keras.callbacks.History:
        """Runs `fit` with all of its arguments, by name."""
        callbacks = arguments["callbacks"]
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            # First in the list, so that `ModelCheckpoint` does not save weights that are NaN.
            callbacks = [FiniteLoss(), *_as_list(callbacks)]
        changed = {
            name: backend.without_autotune(arguments[name]) for name in ("x", "validation_data")
        }
        with backend.preserve_weights(self):
            return super().fit(**arguments | changed | {"callbacks": callbacks})

    def _run_evaluate(self, arguments: dict[str, Any]) -> Any:
        """Runs `evaluate` with all of its arguments, by name."""
        arguments = {**arguments, "x": backend.without_autotune(arguments["x"])}
        private = arguments.pop("kwargs")
        with backend.preserve_weights(self):
            return super().evaluate(**arguments, **private)

    def _run_predict(self, arguments: dict[str, Any]) -> Any:
        """Runs `predict` with all of its arguments, by name."""
        with backend.preserve_weights(self):
            return super().predict(**arguments | {"x": backend.without_autotune(arguments["x"])})

    def make_train_function(self, force: bool = False) -> None:
        """Creates the training step function; see `keras.Model.make_train_function`."""
        backend.build_optimizer(self)
        super().make_train_function(force)

    def _apply_in_batches(
        self,
        method: Callable[..., Any],
        inputs: Any,
        batch_size: int,
        batches_without_bar: int = _BATCHES_WITHOUT_BAR,
        **options: Any,
    ) -> Any:
        """Applies a compiled method of the model to arrays, batch by batch.

        Args:
            method: Method of this model that takes one batch and changes no state.
            inputs: An array, or a dictionary of arrays of equal length.
            batch_size: Integer. Number of rows per batch.
            batches_without_bar: Integer. Largest number of batches without a progress bar. Defaults
                to 200.
            **options: Other arguments of the method, which is compiled once for each combination of
                them.

        Returns:
            The results of the method, concatenated over the batches, as NumPy arrays.
        """
        _validation.check_positive_integer("batch_size", batch_size)
        rows = len(next(iter(inputs.values()))) if isinstance(inputs, dict) else inputs.shape[0]
        verbose = 1 if rows > batches_without_bar * batch_size else 0
        function = self._batch_function(method, options)
        if rows == 0:
            return of_no_rows(function.predict, inputs, verbose=0)
        with backend.preserve_weights(function):
            return function.predict(inputs, batch_size=batch_size, verbose=verbose)

    def _apply_to_batch(self, method: Callable[..., Any], inputs: Any, **options: Any) -> Any:
        """Applies a compiled method of the model to one batch.

        Args:
            method: Method of this model that takes one batch and changes no state.
            inputs: Nested arrays, which may differ in their number of rows.
            **options: Other arguments of the method, which is compiled once for each combination of
                them.

        Returns:
            The result of the method, with NumPy arrays in the same nested structure.
        """
        return backend.predict_on_batch(self._batch_function(method, options), inputs)

    def _batch_function(
        self, method: Callable[..., Any], options: dict[str, Any]
    ) -> "_BatchFunction":
        functions = self.__dict__.setdefault("_batch_functions", {})
        key = (method, *sorted(options.items()))
        if key not in functions:
            functions[key] = _BatchFunction(self, method, options)
        return functions[key]

    def save(
        self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any
    ) -> None:
        """Saves the model. Takes the arguments of `keras.Model.save`.

        A `.keras` file also contains the fingerprint of the weights, which identifies the model
        that a compressed file was made with.
        """
        super().save(filepath, overwrite, zipped, **kwargs)
        store_fingerprint(self, filepath)

    def save_own_variables(self, store: Any) -> None:
        """Saves the variables that Keras saves, and the states of all random generators.

        Without these states, training that is resumed would repeat its random numbers.
        """
        super().save_own_variables(store)
        for index, state in enumerate(self._random_states()):
            store[f"{_RANDOM_STATE}{index}"] = state

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Loads weights from a file, with a warning if they contain NaN or infinity.

        Takes the arguments of `keras.Model.load_weights`.
        """
        with warnings.catch_warnings():
            # Suppresses the warnings of parts: the whole model is checked below.
            warnings.simplefilter("ignore", NonFiniteWeightsWarning)
            super().load_weights(filepath, skip_mismatch, **kwargs)
        warn_of_non_finite(self)

    def load_own_variables(self, store: Any) -> None:
        """Loads the variables written by `save_own_variables`."""
        own = {key: store[key] for key in store.keys()}  # noqa: SIM118 - not a mapping
        saved = {key: own.pop(key) for key in list(own) if key.startswith(_RANDOM_STATE)}
        super().load_own_variables(own)
        states = self._random_states()
        # Weight files from other sources have no states, or a different number of them.
        if len(saved) == len(states):
            for index, state in enumerate(states):
                # The integer type of a state differs between backends.
                value = np.asarray(saved[f"{_RANDOM_STATE}{index}"])
                state.assign(value.astype(keras.backend.standardize_dtype(state.dtype)))

    def _random_states(self) -> list[Any]:
        return [variable for variable in self.variables if variable.name == "seed_generator_state"]

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Creates a model and its parts from a configuration."""
        return cls(**deserialized(config, custom_objects))


class _BatchFunction(_ModelWithoutAutotune):
    """Method of a model as a separate model, so that `predict` compiles and batches it."""

    def __init__(self, owner: Model, method: Callable[..., Any], options: dict[str, Any]) -> None:
        # No autocast: layers cast their inputs; random numbers and caches must keep their dtype.
        super().__init__(name=f"{owner.name}_{method.__name__}", autocast=False)
        self.owner = owner
        self.function = functools.partial(method, **options)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """Applies the method."""
        return self.function(inputs)


def of_no_rows(function: Callable[..., Any], inputs: Any, **options: Any) -> Any:
    """Returns the empty results of a function of empty arrays, with the right shapes and dtypes.

    Args:
        function: Function that maps nested arrays to nested arrays with the same number of rows.
        inputs: Nested arrays without rows.
        **options: Other arguments of the function.
    """
    one_row = keras.tree.map_structure(
        lambda array: np.zeros((1, *array.shape[1:]), keras.backend.standardize_dtype(array.dtype)),
        inputs,
    )
    return keras.tree.map_structure(lambda rows: rows[:0], function(one_row, **options))


def _without_self(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name != "self"}


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
