"""A transposed convolution whose gradients are fast on every backend."""

import keras
from keras import ops

from keras_vq import _backend
from keras_vq import ops as vq_ops
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Keras's transposed convolution, by a matrix product where that is faster.

    On the CPU, JAX takes ten times as long for the gradient of a strided transposed convolution as
    for that of a convolution with as many multiplications, and three times as long where there
    are few filters. There each input is multiplied with all weights in one matrix product, and
    what falls on the same output is summed. Arguments, weights and results are those of
    `keras.layers.Conv2DTranspose`, so that weights go from one to the other.

    Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016,
    chapter 4: the transposed convolution as a product with a matrix.

    Example:
        >>> import numpy as np, keras_vq
        >>> layer = keras_vq.layers.Conv2DTranspose(8, 3, strides=2, padding="same")
        >>> tuple(layer(np.zeros((1, 7, 7, 16), "float32")).shape)
        (1, 14, 14, 8)
    """

    def call(self, inputs: Tensor) -> Tensor:
        """Applies the layer to a tensor of shape `(batch, height, width, channels)`."""
        if not self._takes_products(inputs.shape):
            return super().call(inputs)
        outputs = product_and_sums(inputs, self.kernel, self.strides)
        if self.use_bias:
            outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)

    def _takes_products(self, input_shape: Shape) -> bool:
        return (
            _backend.is_slow_to_transpose_convolutions()
            and not vq_ops.is_traced_for_export()
            and (max(self.strides) > 1 or self.filters < input_shape[-1])
            and self.padding == "same"
            and self.output_padding is None
            and self.dilation_rate == (1, 1)
            and self.data_format == "channels_last"
            and None not in input_shape[1:]
        )


def product_and_sums(inputs: Tensor, kernel: Tensor, strides: tuple[int, int]) -> Tensor:
    """A transposed convolution with padding "same", of ordinary operations.

    Args:
        inputs: Tensor of shape `(batch, height, width, channels)`.
        kernel: Tensor of shape `(kernel_height, kernel_width, filters, channels)`.
        strides: Of height and width.

    Returns:
        Tensor of shape `(batch, height * strides[0], width * strides[1], filters)`.
    """
    height, width, channels = inputs.shape[1:]
    kernel_height, kernel_width, filters, _ = kernel.shape
    weights = ops.reshape(ops.transpose(kernel, (3, 0, 1, 2)), (channels, -1))
    products = ops.matmul(inputs, weights)
    products = ops.reshape(products, (-1, height, width, kernel_height, kernel_width * filters))
    rows = _summed(products, 1, strides[0])
    rows = ops.reshape(rows, (-1, rows.shape[1], width, kernel_width, filters))
    return _summed(rows, 2, strides[1])


def _summed(products: Tensor, axis: int, stride: int) -> Tensor:
    """Sums of what falls on the same output, along one axis.

    Of input j, tap t falls on output stride * j + t - before.

    Args:
        products: Tensor of shape `(batch, height, width, taps, numbers)`.
        axis: 1 for height, 2 for width.
        stride: How many outputs an input has.

    Returns:
        Tensor of shape `(batch, height, width, numbers)`, the axis `stride` times as long.
    """
    shape = list(products.shape)
    length, taps = shape[axis], shape[3]
    before = max(taps - stride, 0) // 2  # what padding "same" cuts off in front
    phases = [ops.zeros_like(products[:, :, :, 0]) for _ in range(stride)]
    for tap in range(taps):
        shift, phase = divmod(tap - before, stride)
        if abs(shift) < length:
            phases[phase] = phases[phase] + _moved(products[:, :, :, tap], shift, axis)
    shape[axis] = stride * length
    return ops.reshape(ops.stack(phases, axis=axis + 1), (-1, *shape[1:3], shape[4]))


def _moved(tensor: Tensor, shift: int, axis: int) -> Tensor:
    """A tensor moved along an axis, with zeros where nothing comes from."""
    kept: list[slice] = [slice(None)] * 4
    padding = [(0, 0)] * 4
    kept[axis] = slice(max(-shift, 0), tensor.shape[axis] - max(shift, 0))
    padding[axis] = (max(shift, 0), max(-shift, 0))
    return ops.pad(tensor[tuple(kept)], padding)
