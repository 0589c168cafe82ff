"""Layer of the gated PixelCNN, with cached step-by-step evaluation."""

from typing import Any

import keras
from keras import layers, ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class GatedMaskedConvolution(ConfigurableLayer):
    """Gated PixelCNN layer with a vertical and a horizontal stack.

    Both stacks include the current position. For a causal model, shift the inputs before the first
    layer: those of the vertical stack by one row, those of the horizontal stack by one column. All
    layers then have the same masks, without a blind spot. Source: van den Oord et al., "Conditional
    Image Generation with PixelCNN Decoders", 2016, section 2.

    `call` processes whole grids. `step_row` and `step_column` compute the same outputs for one row
    of the vertical stack and one position of the horizontal stack, from a cache of the preceding
    rows and positions.

    Args:
        filters: Integer. Channels of both stacks, p.
        kernel_size: Odd integer. Kernel size; kernels extend `kernel_size // 2` positions up, left
            and right. Defaults to 3.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        vertical: Float tensor of shape `(batch, height, width, p)`.
        horizontal: Float tensor of the same shape.
        condition: None, or a tuple of two float tensors that broadcast to
            `(batch, height, width, 2p)`, added to the gate inputs of the vertical and the
            horizontal stack.

    Returns:
        Tuple (vertical, horizontal) of tensors of the same shapes.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np, keras_vq
        >>> layer = keras_vq.layers.GatedMaskedConvolution(filters=8)
        >>> grid = np.zeros((1, 7, 7, 8), "float32")
        >>> vertical, horizontal = layer(grid, grid)
        >>> tuple(vertical.shape), tuple(horizontal.shape)
        ((1, 7, 7, 8), (1, 7, 7, 8))
    """

    def __init__(self, filters: int, kernel_size: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = _validation.check_positive_integer("filters", filters)
        if _validation.check_positive_integer("kernel_size", kernel_size) % 2 == 0:
            raise ValueError(f"`kernel_size` must be an odd integer. Received: {kernel_size}")
        self.kernel_size = int(kernel_size)
        self.reach = self.kernel_size // 2

    def build(self, vertical_shape: Shape, horizontal_shape: Shape | None = None) -> None:
        """Creates the convolutions."""
        del vertical_shape, horizontal_shape
        p, reach = self.filters, self.reach
        options: dict[str, Any] = {"dtype": self.dtype_policy, "data_format": "channels_last"}
        # Kernels that end at the current position replace masked kernels of the full size.
        self.up = layers.Conv2D(2 * p, (reach + 1, self.kernel_size), **options, name="up")
        self.up_to_left = layers.Conv2D(2 * p, 1, **options, name="up_to_left")
        self.left = layers.Conv2D(2 * p, (1, reach + 1), **options, name="left")
        self.out = layers.Conv2D(p, 1, **options, name="out")
        grid = (None, None, None, p)
        for part in (self.up, self.left, self.out):
            part.build(grid)
        self.up_to_left.build((None, None, None, 2 * p))

    def call(
        self,
        vertical: Tensor,
        horizontal: Tensor,
        condition: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Applies the layer to whole grids."""
        for_vertical, for_horizontal = condition or (0.0, 0.0)
        above = with_zeros(vertical, axis=1, before=self.reach)
        seen_above = self.up(with_zeros(above, axis=2, before=self.reach, after=self.reach))
        seen_left = self.left(with_zeros(horizontal, axis=2, before=self.reach))
        gated = gate(seen_left + self.up_to_left(seen_above) + for_horizontal)
        return gate(seen_above + for_vertical), horizontal + self.out(gated)

    def step_row(
        self, row: Tensor, rows_before: Tensor, condition: Tensor | float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Computes the vertical stack for the next row.

        Args:
            row: Float tensor of shape `(batch, 1, width, p)`.
            rows_before: Float tensor of shape `(batch, reach, width, p)`. The preceding
                `kernel_size // 2` rows; zeros above the grid.
            condition: Conditioning of the vertical stack for this row. Defaults to 0.0.

        Returns:
            Tuple of the output of the vertical stack, of shape `(batch, 1, width, p)`; its
            contribution to the horizontal stack, of shape `(batch, 1, width, 2p)`; and
            `rows_before` for the next row.
        """
        rows = ops.concatenate([rows_before, row], axis=1)
        padded = with_zeros(rows, axis=2, before=self.reach, after=self.reach)
        seen_above = self.up(padded)
        return gate(seen_above + condition), self.up_to_left(seen_above), rows[:, 1:]

    def step_column(
        self, position: Tensor, positions_before: Tensor, from_above: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Computes the horizontal stack at the next position of a row.

        Args:
            position: Float tensor of shape `(batch, 1, 1, p)`.
            positions_before: Float tensor of shape `(batch, 1, reach, p)`. The preceding
                `kernel_size // 2` positions; zeros left of the grid.
            from_above: Float tensor of shape `(batch, 1, 1, 2p)`. Contribution of the vertical
                stack from `step_row` at this position, plus the conditioning of the horizontal
                stack.

        Returns:
            Tuple of the output of the horizontal stack, of shape `(batch, 1, 1, p)`, and
            `positions_before` for the next position.
        """
        positions = ops.concatenate([positions_before, position], axis=2)
        gated = gate(self.left(positions) + from_above)
        return position + self.out(gated), positions[:, :, 1:]

    def compute_output_shape(
        self, vertical_shape: Shape, horizontal_shape: Shape | None = None
    ) -> tuple[Shape, Shape]:
        """Returns the output shapes of the two stacks."""
        del horizontal_shape
        return vertical_shape, vertical_shape


def gate(x: Tensor) -> Tensor:
    """Computes the gated activation tanh(a) · sigmoid(b) of the two halves of the channels."""
    value, share = ops.split(x, 2, axis=-1)
    return ops.tanh(value) * ops.sigmoid(share)


def with_zeros(x: Tensor, axis: int, before: int = 0, after: int = 0) -> Tensor:
    """Pads a grid with zeros before and after it along one axis."""
    # `ops.pad` makes torch.compile recompile at each call.
    zeros = ops.zeros_like(x[:, :1] if axis == 1 else x[:, :, :1])
    return ops.concatenate([*[zeros] * before, x, *[zeros] * after], axis=axis)
