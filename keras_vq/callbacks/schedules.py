"""Hyperparameters that follow a schedule during training."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._configurable import Configurable
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._spelling import did_you_mean


@keras.saving.register_keras_serializable("keras_vq")
class LinearSchedule(Configurable):
    """Linear change from one value to another, which is then kept.

    For the weight of the KL divergence it is the warm-up of Sønderby et al., "Ladder Variational
    Autoencoders", 2016.

    Args:
        steps: Integer. Number of training steps of the change.
        start: Float. First value. Defaults to 0.
        stop: Float. Last value. Defaults to 1.

    Call arguments:
        step: Integer. Training step, from 0.

    Raises:
        ValueError: If an argument is invalid.

    Example:
        >>> import keras_vq
        >>> schedule = keras_vq.callbacks.LinearSchedule(steps=4)
        >>> [schedule(step) for step in range(6)]
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, steps: int, start: float = 0.0, stop: float = 1.0) -> None:
        self.steps = _validation.check_positive_integer("steps", steps)
        self.start = _validation.check_finite("start", start)
        self.stop = _validation.check_finite("stop", stop)

    def __call__(self, step: int) -> float:
        """Returns the value at a training step."""
        return self.start + (self.stop - self.start) * min(step / self.steps, 1.0)


@keras.saving.register_keras_serializable("keras_vq")
class CyclicalSchedule(Configurable):
    """Repeated linear change from one value to another.

    In each cycle the value changes linearly, and then keeps the last value for the rest of the
    cycle. Source: Fu et al., "Cyclical Annealing Schedule: A Simple Approach to Mitigating KL
    Vanishing", 2019.

    Args:
        steps: Integer. Number of training steps of a cycle.
        ratio: Float in (0, 1]. Fraction of a cycle in which the value changes. Defaults to 0.5.
        start: Float. First value of a cycle. Defaults to 0.
        stop: Float. Last value of a cycle. Defaults to 1.

    Call arguments:
        step: Integer. Training step, from 0.

    Raises:
        ValueError: If an argument is invalid.

    Example:
        >>> import keras_vq
        >>> schedule = keras_vq.callbacks.CyclicalSchedule(steps=4)
        >>> [schedule(step) for step in range(6)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
    """

    def __init__(
        self, steps: int, ratio: float = 0.5, start: float = 0.0, stop: float = 1.0
    ) -> None:
        self.steps = _validation.check_positive_integer("steps", steps)
        self.ratio = _validation.check_positive("ratio", ratio)
        if self.ratio > 1:
            raise ValueError(f"`ratio` must be in (0, 1]. Received: {ratio!r}")
        self.start = _validation.check_finite("start", start)
        self.stop = _validation.check_finite("stop", stop)

    def __call__(self, step: int) -> float:
        """Returns the value at a training step."""
        share = min((step % self.steps) / (self.ratio * self.steps), 1.0)
        return self.start + (self.stop - self.start) * share


class HyperparameterSchedule(keras.callbacks.Callback):
    """Sets a hyperparameter of the model before each training step.

    Steps are counted from the `iterations` of the optimizer, so that resumed training continues the
    schedule. With `steps_per_execution` all steps of one execution use the value of its first step.

    Args:
        name: String. Name of a scalar that may change during training, such as `"beta"` of a `VAE`,
            or the path of one, such as `"quantizer.commitment_weight"` of a `VQVAE`.
        schedule: Callable that returns the value at a step: `LinearSchedule`, `CyclicalSchedule`, a
            schedule of `keras.optimizers.schedules`, or any function.

    Raises:
        ValueError: If `schedule` is not callable, or, when training starts, if the model has no
            hyperparameter of that name.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> networks = keras_vq.networks.dense(
        ...     (8, 8, 1), units=(32,), latent_dim=None, output_activation="sigmoid"
        ... )
        >>> vae = keras_vq.VAE(*networks, latent_dim=4)
        >>> vae.compile("adam")
        >>> schedules = keras_vq.callbacks
        >>> warmup = schedules.HyperparameterSchedule("beta", schedules.LinearSchedule(steps=8))
        >>> history = vae.fit(images, batch_size=16, epochs=1, callbacks=[warmup], verbose=0)
        >>> vae.beta  # the value of step 3, the last of four
        0.375
    """

    def __init__(self, name: str, schedule: Callable[[int], Any]) -> None:
        super().__init__()
        if not callable(schedule):
            raise ValueError(
                "`schedule` must be a function of the training step, such as "
                f"`keras_vq.callbacks.LinearSchedule(steps=1000)`. Received: {schedule!r}"
            )
        self.name, self.schedule = name, schedule

    def on_train_begin(self, logs: Any = None) -> None:
        """Checks the name, and reads the number of training steps that are done."""
        del logs
        self._owner()
        optimizer = self.model.optimizer
        updates = int(ops.convert_to_numpy(optimizer.iterations))
        self._done = updates * (optimizer.gradient_accumulation_steps or 1)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Keeps the number of steps before the epoch."""
        del epoch, logs
        self._before_epoch = self._done

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Sets the value for the next step."""
        del batch, logs
        value = float(ops.convert_to_numpy(self.schedule(self._done)))
        owner, attribute = self._owner()
        if value != getattr(owner, attribute):
            setattr(owner, attribute, value)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts the steps, of which one execution may have several."""
        del logs
        self._done = self._before_epoch + batch + 1

    def _owner(self) -> tuple[Any, str]:
        """Returns the object that has the hyperparameter, and the name of the attribute."""
        *path, attribute = self.name.split(".")
        owner = self.model
        for part in path:
            owner = getattr(owner, part, None)
        names = [name for name, _ in inspect.getmembers_static(type(owner), _is_hyperparameter)]
        if attribute not in names:
            raise ValueError(
                f"`name` must be that of a scalar that may change during training: one of {names} "
                f"of {type(owner).__name__}, or the path of a scalar of a part, such as "
                f"'quantizer.commitment_weight'. Received: {self.name!r}."
                + did_you_mean(attribute, names)
            )
        return owner, attribute


def _is_hyperparameter(attribute: Any) -> bool:
    return isinstance(attribute, Hyperparameter)
