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
from keras_vq.models._images import TAKES, check_image_shape, check_images, check_values
from keras_vq.models._ranges import output_range


class BatchedInference(Model):
    """Base class with the methods of a model that encode and decode arrays and data sets."""

    built: bool  # typed here, because Keras is untyped
    encoder: Any
    decoder: Any

    @property
    def image_shape(self) -> Shape | None:
        """Input shape of the encoder without the batch axis, or `None` if it is not known yet."""
        shape = getattr(self.encoder, "input_shape", None) if self.encoder.built else None
        return tuple(shape[1:]) if isinstance(shape, tuple) else None

    def encode(self, images: Any, batch_size: int = 128) -> Any:
        """Encodes images to latents.

        Args:
            images: Array of shape `(n, height, width, channels)`, or a dataset that yields such
                batches.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.

        Returns:
            Float32 array of shape `(n, ...)`.
        """
        return self._in_batches(self._encode_batch, images, batch_size, self.image_shape)

    def decode(self, latents: Any, batch_size: int = 128) -> np.ndarray:
        """Decodes latents to images.

        Args:
            latents: Array of shape `(n, ...)`, in the form that `encode` returns.
            batch_size: Integer. Number of images per batch. Defaults to 128.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.
        """
        return self._in_batches(self._decode_batch, self._checked_latents(latents), batch_size)

    def _checked_latents(self, latents: Any) -> Any:
        """Returns latents as an array, after a check of their shape."""
        latents = latents if is_array(latents) else np.asarray(latents)
        if self.built:
            expected = self._latents_taken()
            check_image_shape(tuple(latents.shape), expected, "latents", TAKES, is_image=False)
        return latents

    def reconstruct(self, images: Any, batch_size: int = 128) -> np.ndarray:
        """Reconstructs images: `decode(encode(images))`.

        Args:
            images: Array of shape `(n, height, width, channels)`, or a dataset that yields such
                batches.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.
        """
        return self._in_batches(self._reconstruct_batch, images, batch_size, self.image_shape)

    def interpolate(
        self, start: Any, end: Any, steps: int = 8, batch_size: int = 128
    ) -> np.ndarray:
        """Interpolates linearly between the latents of two sets of images, and decodes the results.

        Args:
            start: Array of shape `(n, height, width, channels)`, with values in [0, 1].
            end: Array of the same shape.
            steps: Integer, at least 2. Number of images per interpolation, including both ends.
                Defaults to 8.
            batch_size: Integer. Number of images per batch. Defaults to 128.

        Returns:
            Float32 array of shape `(n, steps, height, width, channels)`.

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
        first = self._in_batches(self._latents_batch, start, batch_size, self.image_shape)
        last = self._in_batches(self._latents_batch, end, batch_size, self.image_shape)
        shares = np.linspace(0.0, 1.0, steps, dtype="float32")
        shares = shares.reshape((1, steps) + (1,) * (first.ndim - 1))
        latents = first[:, None] * (1.0 - shares) + last[:, None] * shares
        latents = latents.reshape((-1, *first.shape[1:]))
        images = self._in_batches(self._interpolate_batch, latents, batch_size)
        return images.reshape((len(first), steps, *images.shape[1:]))

    def _encode_batch(self, images: Tensor) -> Tensor:
        """Encodes a batch of images to latents in the form that `_decode_batch` takes."""
        raise NotImplementedError

    def _decode_batch(self, latents: Tensor) -> Tensor:
        """Decodes a batch of latents to images."""
        return self.decoder(latents, training=False)

    def _reconstruct_batch(self, images: Tensor) -> Tensor:
        """Reconstructs a batch of images in inference mode."""
        return self._decode_batch(self._encode_batch(images))

    def _interpolate_batch(self, latents: Tensor) -> Tensor:
        """Decodes a batch of interpolated latents to images."""
        return self._decode_batch(latents)

    def _latents_batch(self, images: Tensor) -> Tensor:
        """Encodes a batch of images to latents before quantization, for interpolation."""
        return self._encode_batch(images)

    def _in_batches(
        self,
        method: Callable[[Tensor], Tensor],
        inputs: Any,
        batch_size: int,
        expected: Shape | None = None,
    ) -> np.ndarray:
        """Applies a compiled method of the model to an array or a dataset, batch by batch.

        Args:
            method: Method of this model that takes one batch and changes no state.
            inputs: Array of shape `(n, ...)`, or a dataset.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`.
            expected: Shape of one image, with `None` for an axis of any size; `None` for latents or
                codes, whose shape is not checked. Defaults to `None`.

        Returns:
            NumPy array of the concatenated results.

        Raises:
            ValueError: If the model is not built, a dataset is empty, or the inputs have another
                shape or contain NaN or infinity.
        """
        if not self.built:
            raise ValueError(
                f"{type(self).__name__} must be built. Fit the model, or call it on a batch. "
                "Received: an unbuilt model"
            )
        name = "latents" if expected is None else "images"
        if is_data_set(inputs):
            _validation.check_positive_integer("batch_size", batch_size)
            parts = [
                self._apply_to_batch(method, self._checked_inputs(batch, expected, name, True))
                for batch in inputs_of(inputs, batch_size, name)
            ]
            if not parts:
                raise ValueError(f"`{name}` must not be empty. Received: an empty data set")
            return np.concatenate(parts)
        inputs = self._checked_inputs(as_array(name, inputs), expected, name)
        return self._apply_in_batches(method, inputs, batch_size)

    def _checked_inputs(
        self, inputs: Any, expected: Shape | None, name: str, is_batch: bool = False
    ) -> Any:
        """Checks images or latents, and warns of images far outside the decoder's output range."""
        if expected is None:
            check_values(inputs, name)
            return inputs
        greatest = max(map(abs, check_images(inputs, expected, name, is_batch)))
        made = output_range(self.decoder)
        if greatest > 8 * max(map(abs, made)):
            warnings.warn(
                f"`{name}` has values up to {greatest:g}, far outside the range of the decoder "
                f"outputs, {made}. Divide 8-bit images by 255.",
                stacklevel=4,
            )
        return inputs

    def _latents_taken(self) -> Shape:
        """Returns the latent shape of one image, with `None` for axes of any size."""
        takes = getattr(self.decoder, "input_shape", None)
        if isinstance(takes, tuple):
            return tuple(takes[1:])
        return (None,) * (len(self._latents_built) - 1) + self._latents_built[-1:]
