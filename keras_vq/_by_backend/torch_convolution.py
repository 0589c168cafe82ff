"""A transposed convolution with padding "same" as Keras means it, on PyTorch."""

from typing import Any

import torch
from torch.nn import functional


class SameTransposedConvolution(torch.autograd.Function):
    """Images `(n, channels, height, width)` and a kernel `(channels, filters, rows, columns)`.

    Padding "same" cuts kernel - stride off, the larger half of an odd number at the end; PyTorch
    cuts as much at both ends. So one row more is cut here, and gradients are convolutions of
    an upstream gradient with a row of zeros in its place. PyTorch's own gradients of a cropped
    output, or of a padded input, take half as long again.
    """

    @staticmethod
    def forward(
        images: torch.Tensor, kernel: torch.Tensor, strides: tuple[int, int]
    ) -> torch.Tensor:
        """The outputs, `(n, filters, height * strides[0], width * strides[1])`."""
        at_both_ends, (rows, columns) = _cut(kernel, strides)
        outputs = functional.conv_transpose2d(images, kernel, None, strides, at_both_ends)
        height, width = outputs.shape[2:]
        return outputs[:, :, : height - rows, : width - columns]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        """Keeps what gradients are made of."""
        del output
        images, kernel, ctx.strides = inputs
        ctx.save_for_backward(images, kernel)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients by the images and the kernel."""
        images, kernel = ctx.saved_tensors
        at_both_ends, (rows, columns) = _cut(kernel, ctx.strides)
        upstream = functional.pad(upstream, (0, columns, 0, rows))
        by_images, by_kernel, _ = torch.ops.aten.convolution_backward(
            *(upstream, images, kernel, None, ctx.strides, at_both_ends),
            *((1, 1), True, (0, 0), 1),  # dilation, transposed, output padding, groups
            (*ctx.needs_input_grad[:2], False),
        )
        return by_images, by_kernel, None


def _cut(kernel: torch.Tensor, strides: tuple[int, int]) -> tuple[list[int], list[int]]:
    """By height and width: what is cut off at both ends, and how much more at the end."""
    cut = [size - stride for size, stride in zip(kernel.shape[2:], strides, strict=True)]
    return [whole // 2 for whole in cut], [whole % 2 for whole in cut]
