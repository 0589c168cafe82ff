"""Transposed 2D convolution with fast gradients on every backend."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_vq import backend
from keras_vq._export_mode import is_traced_for_export
from keras_vq._types import Shape, Tensor

# Images per matrix product; few enough to stay in the cache of one CPU core.
_IMAGES_AT_ONCE = 4


@keras.saving.register_keras_serializable("keras_vq")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Transposed 2D convolution, faster than that of Keras on JAX (CPU) and PyTorch.

    On the CPU, JAX computes the gradients of a transposed convolution many times slower than those
    of a convolution with as many multiplications. Here the input gradient is a convolution, and the
    kernel gradient is one matrix product per kernel position, over a few images at a time. On
    PyTorch, Keras computes larger outputs and crops them, which costs memory and time, mostly in
    the gradients; here PyTorch computes outputs of the final size.

    Arguments, weights and results are those of `keras.layers.Conv2DTranspose`, so that weights are
    interchangeable. Only the default of `data_format` differs: it is "channels_last" regardless of
    `keras.config.image_data_format()`.

    Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016,
    chapter 4.

    Example:
        >>> import numpy as np, keras_vq
        >>> layer = keras_vq.layers.Conv2DTranspose(8, 3, strides=2, padding="same")
        >>> tuple(layer(np.zeros((1, 7, 7, 16), "float32")).shape)
        (1, 14, 14, 8)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = "channels_last",
        **kwargs: Any,
    ) -> None:
        data_format = data_format or "channels_last"
        super().__init__(
            filters, kernel_size, strides, padding, output_padding, data_format, **kwargs
        )

    def call(self, inputs: Tensor) -> Tensor:
        """Applies the layer to a tensor of shape `(batch, height, width, channels)`."""
        if not self._is_usual(inputs.shape):
            return super().call(inputs)
        if backend.crops_conv_transpose():
            kernel, bias = (
                None if weight is None else ops.convert_to_tensor(weight)
                for weight in (self.kernel, self.bias)
            )
            outputs = backend.conv_transpose_same(inputs, kernel, bias, self.strides)
        elif backend.has_slow_conv_transpose_gradients():
            outputs = transposed_convolution(inputs, self.kernel, self.strides)
            if self.use_bias:
                outputs = outputs + self.bias
        else:
            return super().call(inputs)
        return outputs if self.activation is None else self.activation(outputs)

    def _is_usual(self, input_shape: Shape) -> bool:
        """Returns whether the fast implementations apply.

        They cover the arguments used in `keras_vq.networks` and inputs of known size, and are not
        used in graphs traced for export.
        """
        return (
            not is_traced_for_export()
            and self.padding == "same"
            and self.output_padding is None
            and self.dilation_rate == (1, 1)
            and self.data_format == "channels_last"
            and None not in input_shape[1:]
            and all(size >= by for size, by in zip(self.kernel_size, self.strides, strict=True))
        )


def transposed_convolution(inputs: Tensor, kernel: Tensor, strides: tuple[int, int]) -> Tensor:
    """Computes a transposed convolution with "same" padding, with gradients made of basic ops.

    Args:
        inputs: Tensor of shape `(batch, height, width, channels)`.
        kernel: Tensor of shape `(kernel_height, kernel_width, filters, channels)`.
        strides: Tuple of integers. Strides of height and width.

    Returns:
        Tensor of shape `(batch, height * strides[0], width * strides[1], filters)`.
    """

    @ops.custom_gradient
    def convolved(inputs: Tensor, kernel: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        def gradients(*args: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, Tensor]:
            if upstream is None:
                (upstream,) = args
            by_inputs = ops.conv(upstream, kernel, strides, "same", "channels_last")
            return by_inputs, _gradient_by_kernel(upstream, inputs, kernel.shape, strides)

        return ops.conv_transpose(
            inputs, kernel, strides, "same", data_format="channels_last"
        ), gradients

    return convolved(inputs, ops.convert_to_tensor(kernel))


def _gradient_by_kernel(
    upstream: Tensor, inputs: Tensor, kernel_shape: tuple[int, ...], strides: tuple[int, int]
) -> Tensor:
    """Computes the kernel gradient, summed over all images."""
    batch = inputs.shape[0]
    at_once = math.gcd(batch, _IMAGES_AT_ONCE)

    def add(turn: Tensor, total: Tensor) -> Tensor:
        upstream_part, part = (
            ops.slice(images, (turn * at_once, 0, 0, 0), (at_once, *images.shape[1:]))
            for images in (upstream, inputs)
        )
        return total + _products(upstream_part, part, kernel_shape, strides)

    return ops.fori_loop(0, batch // at_once, add, ops.zeros(kernel_shape, inputs.dtype))


def _products(
    upstream: Tensor, inputs: Tensor, kernel_shape: tuple[int, ...], strides: tuple[int, int]
) -> Tensor:
    """Computes the kernel gradient of a few images, as one matrix product per kernel position."""
    height, width, channels = inputs.shape[1:]
    rows, columns, filters, _ = kernel_shape
    down, right = strides
    # Rows and columns that "same" padding crops at the start.
    top, left = max(rows - down, 0) // 2, max(columns - right, 0) // 2
    padded = ops.pad(upstream, [(0, 0), (top, rows), (left, columns), (0, 0)])
    vectors = ops.reshape(inputs, (-1, channels))
    products = []
    for row in range(rows):
        for column in range(columns):
            added_to = padded[
                :,
                row : row + (height - 1) * down + 1 : down,
                column : column + (width - 1) * right + 1 : right,
            ]
            slopes = ops.reshape(added_to, (-1, filters))
            products.append(ops.matmul(ops.transpose(slopes), vectors))
    return ops.reshape(ops.stack(products), kernel_shape)
