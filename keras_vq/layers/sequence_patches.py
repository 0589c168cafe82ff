"""Patches of sequences, with support for masks."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class EndMasking(ConfigurableLayer):
    """Mask of the trailing all-zero steps of a sequence.

    `keras.layers.Masking` masks zero steps anywhere. This layer keeps those before the last nonzero
    step, so that the mask is strictly right-padded, as cuDNN recurrent layers require. The first
    step is never masked.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`.

    Example:
        >>> import numpy as np, keras_vq
        >>> steps = np.array([[[1.0], [0.0], [2.0], [0.0]]], "float32")
        >>> [bool(given) for given in keras_vq.layers.EndMasking().compute_mask(steps, None)[0]]
        [True, True, True, False]
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Tensor) -> Tensor:
        """Returns a copy of the inputs."""
        # A new tensor, so that the mask is not attached to the input tensor.
        return inputs * 1.0

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None) -> Tensor:
        """Computes the mask, boolean of shape `(batch, T)`, False for trailing zero steps."""
        del previous_mask
        is_given = ops.cast(ops.any(ops.not_equal(inputs, 0), axis=-1), "int32")
        given_from_here = ops.flip(ops.cumsum(ops.flip(is_given, axis=1), axis=1), axis=1)
        is_first = ops.equal(ops.arange(0, inputs.shape[1]), 0)
        return ops.logical_or(given_from_here > 0, is_first)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input shape."""
        return input_shape


@keras.saving.register_keras_serializable("keras_vq")
class SequencePatches(ConfigurableLayer):
    """Patches of a sequence: `(batch, T, C)` -> `(batch, T / size, size C)`.

    Masked steps are set to 0. A patch is masked if all of its steps are masked.

    Args:
        size: Integer. Steps per patch. Must divide T unless `pad` is True.
        pad: Boolean. Whether to fill the last patch with masked steps of zeros if `size` does not
            divide T. Defaults to False.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If `size` is not an integer of at least 1, or does not divide T.

    Example:
        >>> import numpy as np, keras_vq
        >>> patches = keras_vq.layers.SequencePatches(2)(np.zeros((1, 6, 3), "float32"))
        >>> tuple(patches.shape)
        (1, 3, 6)
    """

    def __init__(self, size: int, pad: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = _validation.check_positive_integer("size", size)
        self.pad = bool(pad)
        self.supports_masking = True

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Joins the steps of each patch."""
        if mask is not None:
            inputs = ops.where(ops.cast(mask, "bool")[..., None], inputs, 0.0)
        _, count, width = self.compute_output_shape(inputs.shape)
        return ops.reshape(self._padded(inputs), (-1, count, width))

    def _padded(self, steps: Tensor) -> Tensor:
        """Fills the last patch with zeros, which are False in a mask."""
        missing = -steps.shape[1] % self.size
        if not missing:
            return steps
        rest = [(0, 0)] * (len(steps.shape) - 2)
        return ops.pad(steps, [(0, 0), (0, missing), *rest], constant_values=0)

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None) -> Tensor | None:
        """Computes the mask of the patches."""
        if previous_mask is None:
            return None
        del inputs
        counts = self._padded(ops.cast(previous_mask, "int32"))
        shape = (-1, counts.shape[1] // self.size, self.size)
        return ops.any(ops.reshape(counts, shape) > 0, axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape `(batch, T / size, size C)`."""
        batch, steps, channels = input_shape
        if steps is None or channels is None or (steps % self.size and not self.pad):
            raise ValueError(
                "The number of steps must be known and divisible by `size`. "
                f"Received: size={self.size}, inputs of shape {tuple(input_shape)}"
            )
        return batch, -(-steps // self.size), self.size * channels


@keras.saving.register_keras_serializable("keras_vq")
class PatchSteps(ConfigurableLayer):
    """Inverse of `SequencePatches`: `(batch, N, size C)` -> `(batch, N size, C)`.

    Args:
        size: Integer. Steps per patch. Must divide the last axis of the inputs.
        steps: Integer. Number of steps to keep, from the first. None keeps all N size. Defaults to
            None.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If `size` or `steps` is not an integer of at least 1, or does not fit the
            patches.

    Example:
        >>> import numpy as np, keras_vq
        >>> steps = keras_vq.layers.PatchSteps(2)(np.zeros((1, 3, 6), "float32"))
        >>> tuple(steps.shape)
        (1, 6, 3)
    """

    def __init__(self, size: int, steps: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = _validation.check_positive_integer("size", size)
        self.steps = None if steps is None else _validation.check_positive_integer("steps", steps)
        self.supports_masking = True

    def call(self, inputs: Tensor) -> Tensor:
        """Splits the patches into steps."""
        _, _, channels = self.compute_output_shape(inputs.shape)
        steps = ops.reshape(inputs, (-1, inputs.shape[1] * self.size, channels))
        return steps if self.steps is None else steps[:, : self.steps]

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None) -> Tensor | None:
        """Computes the mask of the steps from that of their patches."""
        del inputs
        if previous_mask is None:
            return None
        return ops.repeat(previous_mask, self.size, axis=1)[:, : self.steps]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape `(batch, N size, C)`, or `(batch, steps, C)`."""
        batch, count, width = input_shape
        if count is None or width is None or width % self.size:
            raise ValueError(
                "The number of patches must be known, and their width divisible by `size`. "
                f"Received: size={self.size}, inputs of shape {tuple(input_shape)}"
            )
        steps = count * self.size
        if self.steps is not None and self.steps > steps:
            raise ValueError(
                f"`steps` must be at most {steps}, the number of steps in {count} patches. "
                f"Received: steps={self.steps}"
            )
        return batch, self.steps or steps, width // self.size
