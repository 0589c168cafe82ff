"""Padding of sequences before a 1D convolution."""

from typing import Any, Literal, get_args

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor

PaddingMode = Literal["reflect", "constant"]


@keras.saving.register_keras_serializable("keras_vq")
class ConvolutionPadding1D(ConfigurableLayer):
    """Padding of a sequence, so that an unpadded convolution of T steps has ⌈T / strides⌉ outputs.

    In contrast to the padding of `keras.layers.Conv1D`, the sequence can be reflected instead of
    padded with zeros, and strided convolutions can be causal: outputs depend on no later step,
    except on those of their own stride, and the first ones on the steps that are reflected. A last
    window that the strides do not fill is padded at the end. Sequences that are shorter than their
    reflection are first extended with zeros. With `kernel_size` equal to `strides` the layer pads
    sequences to a multiple of both. Source: Défossez et al., "High Fidelity Neural Audio
    Compression" (EnCodec), 2022.

    Args:
        kernel_size: Integer. Kernel size of the convolution.
        strides: Integer, at most the kernel size times the dilation. Defaults to 1.
        dilation_rate: Integer. Defaults to 1.
        causal: Boolean. Whether all padding is at the start, but for an incomplete last window.
            Otherwise it is divided between both ends, and the start receives an odd step. Defaults
            to `True`.
        mode: String. `"reflect"` or `"constant"`, for zeros. Defaults to `"reflect"`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor of shape `(batch, steps, channels)`.

    Output shape:
        `(batch, padded_steps, channels)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np, keras_vq
        >>> layer = keras_vq.layers.ConvolutionPadding1D(kernel_size=4, strides=2)
        >>> [int(step) for step in layer(np.array([[[1], [2], [3], [4], [5]]]))[0, :, 0]]
        [3, 2, 1, 2, 3, 4, 5, 4]
    """

    def __init__(
        self,
        kernel_size: int,
        strides: int = 1,
        dilation_rate: int = 1,
        causal: bool = True,
        mode: PaddingMode = "reflect",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size = _validation.check_positive_integer("kernel_size", kernel_size)
        self.strides = _validation.check_positive_integer("strides", strides)
        self.dilation_rate = _validation.check_positive_integer("dilation_rate", dilation_rate)
        self.causal = bool(causal)
        self.mode = _validation.check_choice("mode", mode, get_args(PaddingMode))
        total = (self.kernel_size - 1) * self.dilation_rate + 1 - self.strides
        if total < 0:
            raise ValueError(
                "`strides` must be at most the extent of the kernel, because steps in between "
                f"would be lost. Received: kernel_size={kernel_size}, strides={strides}"
            )
        self._right = 0 if self.causal else total // 2
        self._left = total - self._right

    def call(self, inputs: Tensor) -> Tensor:
        """Pads a batch."""
        if inputs.shape[1] is None:
            return self._padded_any(inputs)
        steps = inputs.shape[1]
        left, right = self._left, self._right + -steps % self.strides
        if self.mode == "constant":
            return ops.pad(inputs, [(0, 0), (left, right), (0, 0)])
        missing = max(0, max(left, right) + 1 - steps)
        extended = ops.pad(inputs, [(0, 0), (0, missing), (0, 0)]) if missing else inputs
        padded = ops.pad(extended, [(0, 0), (left, right), (0, 0)], mode="reflect")
        return padded[:, : left + steps + right]

    def _padded_any(self, inputs: Tensor) -> Tensor:
        """Pads a batch with a number of steps that is unknown while it is traced."""
        steps = ops.shape(inputs)[1]
        left, right = self._left, self._right + -steps % self.strides
        places = ops.arange(0, left + steps + right) - left
        if self.mode == "reflect":
            last = ops.maximum(steps - 1, ops.maximum(left, right))
            places = last - ops.abs(last - ops.abs(places))
        inside = ops.logical_and(places >= 0, places < steps)
        taken = ops.take(inputs, ops.clip(places, 0, steps - 1), axis=1)
        return taken * ops.cast(inside, inputs.dtype)[:, None]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the padded shape."""
        batch, steps, channels = input_shape
        if steps is not None:
            steps += self._left + self._right + -steps % self.strides
        return (batch, steps, channels)
