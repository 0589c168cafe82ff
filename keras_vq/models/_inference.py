"""Batched inference of models: arrays or data sets in, NumPy arrays out."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_vq import _validation
from keras_vq._inputs import (
    as_array,
    inputs_of,
    is_array,
    is_data_set,
)
from keras_vq._model import Model
from keras_vq._types import Shape, Tensor
from keras_vq.models._arrays import DECODER_INPUTS, check_inputs, check_shape, check_values
from keras_vq.models._ranges import Range, output_range


class BatchedInference(Model):
    """Base class with the methods of a model that encode and decode arrays and data sets."""

    built: bool  # typed here, because Keras is untyped
    encoder: Any
    decoder: Any

    @property
    def input_shape(self) -> Shape | None:
        """Input shape with the batch axis, e.g. `(None, 28, 28, 1)`; `None` until it is known."""
        shape = getattr(self.encoder, "input_shape", None) if self.encoder.built else None
        return tuple(shape) if isinstance(shape, tuple) else None

    @property
    def _example_shape(self) -> Shape | None:
        """Shape of one input, without the batch axis."""
        return None if self.input_shape is None else self.input_shape[1:]

    def encode(self, inputs: Any, batch_size: int = 128) -> Any:
        """Encodes inputs to latents.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.

        Returns:
            Float32 array of shape `(n, ...)`.
        """
        return self._in_batches(self._encode_batch, inputs, batch_size, "inputs")

    def decode(self, latents: Any, batch_size: int = 128) -> np.ndarray:
        """Decodes latents to reconstructions.

        Args:
            latents: Array of shape `(n, ...)`, in the form that `encode` returns.
            batch_size: Integer. Batch size. Defaults to 128.

        Returns:
            Float32 array of shape `(n, ...)`.
        """
        return self._in_batches(self._decode_batch, self._checked_latents(latents), batch_size)

    def _checked_latents(self, latents: Any) -> Any:
        """Returns latents as an array, after a check of their shape."""
        latents = latents if is_array(latents) else np.asarray(latents)
        if self.built:
            expected = self._latents_taken()
            check_shape(tuple(latents.shape), expected, "latents", DECODER_INPUTS, has_hint=False)
        return latents

    def reconstruct(self, inputs: Any, batch_size: int = 128) -> np.ndarray:
        """Reconstructs inputs: `decode(encode(inputs))`.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.

        Returns:
            Float32 array of shape `(n, ...)`.
        """
        return self._in_batches(self._reconstruct_batch, inputs, batch_size, "inputs")

    def interpolate(
        self, start: Any, end: Any, steps: int = 8, batch_size: int = 128
    ) -> np.ndarray:
        """Interpolates linearly between the latents of two sets of inputs, and decodes the results.

        Args:
            start: Array of inputs of shape `(n, ...)`.
            end: Array of the same shape.
            steps: Integer, at least 2. Number of results per interpolation, including both
                ends. Defaults to 8.
            batch_size: Integer. Batch size. Defaults to 128.

        Returns:
            Float32 array of shape `(n, steps, ...)`.

        Raises:
            ValueError: If `start` and `end` differ in shape, or `steps` is below 2.
        """
        if _validation.check_positive_integer("steps", steps) < 2:
            raise ValueError(f"`steps` must be an integer of at least 2. Received: {steps}")
        start, end = as_array("start", start), as_array("end", end)
        if tuple(start.shape) != tuple(end.shape):
            raise ValueError(
                "`start` and `end` must be arrays of the same shape. "
                f"Received: {tuple(start.shape)} and {tuple(end.shape)}"
            )
        first = self._in_batches(self._latents_batch, start, batch_size, "inputs")
        last = self._in_batches(self._latents_batch, end, batch_size, "inputs")
        shares = np.linspace(0.0, 1.0, steps, dtype="float32")
        shares = shares.reshape((1, steps) + (1,) * (first.ndim - 1))
        latents = first[:, None] * (1.0 - shares) + last[:, None] * shares
        latents = latents.reshape((-1, *first.shape[1:]))
        decoded = self._in_batches(self._interpolate_batch, latents, batch_size)
        return decoded.reshape((len(first), steps, *decoded.shape[1:]))

    def _encode_batch(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to latents in the form that `_decode_batch` takes."""
        raise NotImplementedError

    def _decode_batch(self, latents: Tensor) -> Tensor:
        """Decodes a batch of latents to reconstructions."""
        return self.decoder(latents, training=False)

    def _reconstruct_batch(self, inputs: Tensor) -> Tensor:
        """Reconstructs a batch of inputs in inference mode."""
        return self._decode_batch(self._encode_batch(inputs))

    def _interpolate_batch(self, latents: Tensor) -> Tensor:
        """Decodes a batch of interpolated latents to reconstructions."""
        return self._decode_batch(latents)

    def _latents_batch(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to latents before quantization, for interpolation."""
        return self._encode_batch(inputs)

    def _in_batches(
        self,
        method: Callable[[Tensor], Tensor],
        inputs: Any,
        batch_size: int,
        name: str = "latents",
    ) -> np.ndarray:
        """Applies a compiled method of the model to an array or a dataset, batch by batch.

        Args:
            method: Method of this model that takes one batch and changes no state.
            inputs: Array of shape `(n, ...)`, or a dataset.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`.
            name: String. `"inputs"`, whose shape and range are checked, or `"latents"`, also for
                codes. Defaults to `"latents"`.

        Returns:
            NumPy array of the concatenated results.

        Raises:
            ValueError: If the model is not built, a dataset is empty, or the inputs have another
                shape or contain NaN or infinity.
        """
        self._check_built()
        if is_data_set(inputs):
            _validation.check_positive_integer("batch_size", batch_size)
            parts = [
                self._apply_to_batch(method, self._checked_inputs(batch, name, True))
                for batch in inputs_of(inputs, batch_size, name)
            ]
            if not parts:
                raise ValueError(f"`{name}` must not be empty. Received: an empty data set")
            return np.concatenate(parts)
        inputs = self._checked_inputs(as_array(name, inputs), name)
        return self._apply_in_batches(method, inputs, batch_size)

    def _check_built(self) -> None:
        if not self.built:
            raise ValueError(
                f"{type(self).__name__} must be built. Fit the model, or call it on a batch. "
                "Received: an unbuilt model"
            )

    def _checked_inputs(self, inputs: Any, name: str, is_batch: bool = False) -> Any:
        """Checks inputs or latents, and warns of inputs far outside the decoder's output range."""
        if name != "inputs":
            check_values(inputs, name)
            return inputs
        greatest = max(map(abs, check_inputs(inputs, self._example_shape, name, is_batch)))
        made = self._value_range()
        if greatest > 8 * max(map(abs, made)):
            warnings.warn(
                f"`{name}` has values up to {greatest:g}, far outside the range of the decoder "
                f"outputs, {made}. Divide 8-bit values by 255.",
                stacklevel=4,
            )
        return inputs

    def _value_range(self) -> Range:
        """Returns the range of the reconstructions, unbounded if it is unknown."""
        return output_range(self.decoder)

    def _latents_taken(self) -> Shape:
        """Returns the latent shape of one input, with `None` for axes of any size."""
        takes = getattr(self.decoder, "input_shape", None)
        if isinstance(takes, tuple):
            return tuple(takes[1:])
        return (None,) * (len(self._latents_built) - 1) + self._latents_built[-1:]
