"""Checks of the data and the loss of a model before training, evaluation and prediction."""

from typing import Any

import keras
import numpy as np

from keras_vq._inputs import (
    check_not_nested,
    first_batch,
    for_keras,
    is_array,
    is_data_set,
    to_numpy,
)
from keras_vq._types import Shape
from keras_vq.layers.straight_through_clip import StraightThroughClip
from keras_vq.losses.likelihoods import BernoulliNegativeLogLikelihood
from keras_vq.models._arrays import DECODER_OUTPUTS, check_inputs, check_not_empty, check_shape
from keras_vq.models._batches import check_not_labels
from keras_vq.models._inference import BatchedInference
from keras_vq.models._ranges import PROBABILITIES, Range, output_range


class DataChecks(BatchedInference):
    """Base class with the checks of inputs and targets."""

    _compiled_loss: Any
    reconstruction_shape: Shape | None

    def _checked(self, x: Any, y: Any, build: bool = False) -> Any:
        """Checks the arrays of `fit(x, y)`, or the first batch of a dataset.

        Args:
            x: Inputs, or a dataset.
            y: Targets. If it is `None`, the inputs are the targets.
            build: Boolean. Whether to build the model for these inputs if it is not built. Defaults
                to `False`.

        Returns:
            The inputs. A generator is replaced by one that yields the first batch again.
        """
        inputs, target = x, y
        is_batch = is_data_set(x)
        if is_batch:
            batch, x = first_batch(x)
            inputs, target, _ = keras.utils.unpack_x_y_sample_weight(batch)
        check_not_nested("x", inputs)
        check_not_nested("y", target)
        if is_batch:
            inputs, target = (part if part is None else to_numpy(part) for part in (inputs, target))
        if not is_array(inputs):
            return x
        check_not_empty(inputs, "x")
        spread = check_inputs(inputs, self._example_shape, "x", is_batch)
        if build and not self.built:
            self.build((None, *inputs.shape[1:]))
        if target is None:
            self._check_range("x", inputs, *spread)
        elif is_array(target):
            self._check_target(inputs, target)
        return x

    def _check_target(self, inputs: Any, target: Any) -> None:
        """Checks the shape, the values and the number of targets that are not the inputs."""
        made = self.reconstruction_shape
        check_not_empty(target, "y")
        if self._has_own_targets():
            check_not_labels(target, tuple(inputs.shape) if made is None else (None, *made))
        if self.loss is None:
            check_shape(tuple(target.shape), made, "y", DECODER_OUTPUTS)
        self._check_range("y", target, *check_inputs(target, None, "y"))
        if len(inputs) != len(target):
            raise ValueError(
                "`x` and `y` must have the same number of rows. "
                f"Received: {len(inputs)} and {len(target)}"
            )

    def _check_batch(self, x: Any, y: Any) -> None:
        """Checks one batch of NumPy arrays; skips tensors, to avoid a copy from their device."""
        check_not_nested("x", x)
        check_not_nested("y", y)
        if isinstance(x, np.ndarray) and (y is None or isinstance(y, np.ndarray)):
            self._checked(x, y)

    def _checked_validation(self, data: Any, batch_size: int | None) -> Any:
        """Checks `validation_data` of `fit` and returns it in a form that Keras takes."""
        if not isinstance(data, list | tuple):
            return data if data is None else self._checked(for_keras(data, batch_size), None)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self._checked(x, y)
        if len(data) < 3:
            return data
        return x, target_of_weights(x, y, sample_weight), sample_weight

    def _check_range(self, name: str, target: Any, least: float, greatest: float) -> None:
        """Checks that targets lie in the range of the decoder outputs and of a likelihood loss."""
        is_same_kind = self.reconstruction_shape in (None, tuple(target.shape[1:]))
        if not self._has_own_targets() or not is_same_kind:
            return
        scale = "Divide 8-bit values by 255, or scale" if greatest > 8 else "Scale"
        wanted = self._value_range()
        if self._is_likelihood() and not PROBABILITIES.has(least, greatest):
            raise ValueError(
                f"`{name}` must have values in [0, 1] because the loss {self._loss_name()!r} "
                f"requires probabilities. {scale} the data to [0, 1], or compile with a loss for "
                f"real numbers. Received: values from {least:g} to {greatest:g}"
            )
        if not wanted.has(least, greatest):
            raise ValueError(
                f"`{name}` must have values in {wanted}, the range of the decoder outputs. "
                f"{scale} the data to that range, or build the networks with another "
                '`output_activation`: "tanh" for [-1, 1], None for any values. '
                f"Received: values from {least:g} to {greatest:g}"
            )

    def _has_own_targets(self) -> bool:
        """Returns whether the loss compares outputs with targets of the same kind.

        A user-defined loss may transform the targets, and a sparse loss takes class indices.
        """
        if self.loss is None:
            return True
        loss = as_loss(self.loss)
        name = getattr(loss, "__name__", type(loss).__name__).lower()
        return (getattr(loss, "__module__", "") or "").startswith("keras") and "sparse" not in name

    def _is_likelihood(self) -> bool:
        """Returns whether the loss interprets targets as probabilities."""
        loss = self._default_loss() if self.loss is None else as_loss(self.loss)
        return loss in (
            keras.losses.binary_crossentropy,
            keras.losses.binary_focal_crossentropy,
        ) or (isinstance(loss, _LIKELIHOODS))

    def _loss_name(self) -> str:
        loss = self._default_loss() if self.loss is None else as_loss(self.loss)
        return str(getattr(loss, "name", getattr(loss, "__name__", loss)))

    def _takes_logits(self) -> bool:
        """Returns whether the loss of `compile` takes outputs as logits."""
        return bool(getattr(getattr(self, "loss", None), "from_logits", False))

    def _check_likelihood(self) -> None:
        """Rejects a likelihood loss of outputs that are clipped or that exceed [0, 1]."""
        if not self._is_likelihood():
            return
        if isinstance(last_layer(self.decoder), StraightThroughClip):
            raise ValueError(
                f"The loss {self._loss_name()!r} requires probabilities and has no gradient at 0 "
                "and 1, the limits of clipped outputs. Build the networks with "
                '`output_activation="sigmoid"`, or compile with another loss. Received: a '
                "decoder that ends with a StraightThroughClip"
            )
        made = output_range(self.decoder)
        if made not in (PROBABILITIES, Range()) and not self._takes_logits():
            raise ValueError(
                f"The loss {self._loss_name()!r} requires probabilities in [0, 1]. Build the "
                'networks with `output_activation="sigmoid"`, or compile with another loss. '
                f"Received: a decoder with outputs in {made}"
            )


_LIKELIHOODS = (
    BernoulliNegativeLogLikelihood,
    keras.losses.BinaryCrossentropy,
    keras.losses.BinaryFocalCrossentropy,
)


def last_layer(model: Any) -> Any:
    """Returns the last layer of a model, descending into nested models."""
    while getattr(model, "layers", None):
        model = model.layers[-1]
    return model


def as_loss(loss: Any) -> Any:
    """Returns a loss of `compile` as a loss object or function; other values are unchanged."""
    return keras.losses.get(loss) if isinstance(loss, str | dict) or callable(loss) else loss


def target_of_weights(x: Any, y: Any, sample_weight: Any) -> Any:
    # Keras ignores the sample weights of an array without targets.
    return x if y is None and sample_weight is not None and is_array(x) else y
