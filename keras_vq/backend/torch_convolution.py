"""Transposed convolution with the padding "same" of Keras, on PyTorch."""

from typing import Any

import torch
from torch.nn import functional


class SameTransposedConvolution(torch.autograd.Function):
    """Transposed convolution with the padding "same" of Keras.

    The inputs are images `(n, channels, height, width)` and a kernel `(channels, filters, rows,
    columns)`. Padding "same" crops kernel size - stride from the output, with the larger half of an
    odd number at the end; PyTorch's padding crops the same at both ends. The remaining row or
    column is cropped here, and the gradients are convolutions of the upstream gradient padded with
    zeros. Autograd of a cropped output, or of a padded input, takes 1.5 times as long.
    """

    @staticmethod
    def forward(
        images: torch.Tensor, kernel: torch.Tensor, strides: tuple[int, int]
    ) -> torch.Tensor:
        """Computes the outputs: `(n, filters, height * strides[0], width * strides[1])`."""
        at_both_ends, (rows, columns) = _cut(kernel, strides)
        outputs = functional.conv_transpose2d(images, kernel, None, strides, at_both_ends)
        height, width = outputs.shape[2:]
        return outputs[:, :, : height - rows, : width - columns]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        """Saves the tensors for the backward pass."""
        del output
        images, kernel, ctx.strides = inputs
        ctx.save_for_backward(images, kernel)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Computes the gradients with respect to the images and the kernel."""
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
    """Computes the crop at both ends, and the additional crop at the end, of height and width."""
    cut = [size - stride for size, stride in zip(kernel.shape[2:], strides, strict=True)]
    return [whole // 2 for whole in cut], [whole % 2 for whole in cut]
