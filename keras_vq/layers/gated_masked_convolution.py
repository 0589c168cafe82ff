"""The layer of the gated PixelCNN, which can also go on row by row and pixel by pixel."""

from typing import Any

import keras
from keras import layers, ops

from keras_vq import _validation
from keras_vq._hyperparameter import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class GatedMaskedConvolution(ConfigurableLayer):
    """A layer of the gated PixelCNN: a stack that looks up, and one that looks left and at it.

    Both stacks see a position itself and what lies before it. A model in which a position shall
    not see itself shifts the inputs once, the vertical stack's by a row and the horizontal's by
    a column: then all layers are of this one kind, and there is no blind spot. Source: van den
    Oord et al., "Conditional Image Generation with PixelCNN Decoders", 2016, section 2.

    `call` takes whole grids; `step_row` and `step_column` give the same for one row of the
    vertical stack and one position of the horizontal stack, from the last few before.

    Args:
        filters: Channels of both stacks, p.
        kernel_size: Odd width of the kernels; they reach `kernel_size // 2` up, left and right.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        vertical: Float tensor of shape `(batch, height, width, p)`.
        horizontal: Float tensor of the same shape.
        condition: None, or a pair of float tensors that broadcast to
            `(batch, height, width, 2p)`, added before the gates of the two stacks.

    Returns:
        The pair (vertical, horizontal), of the same shapes.

    Raises:
        ValueError: If an argument is out of its range.

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
            raise ValueError(
                f"`kernel_size` must be odd, to be centred. Received: kernel_size={kernel_size}"
            )
        self.kernel_size = int(kernel_size)
        self.reach = self.kernel_size // 2

    def build(self, vertical_shape: Shape, horizontal_shape: Shape | None = None) -> None:
        """Creates the convolutions."""
        del vertical_shape, horizontal_shape
        p, reach = self.filters, self.reach
        options: dict[str, Any] = {"dtype": self.dtype_policy, "data_format": "channels_last"}
        # Kernels that end at the position itself stand for masked ones of the full size.
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
        """The vertical stack of the next row.

        Args:
            row: Float tensor of shape `(batch, 1, width, p)`.
            rows_before: The `reach` rows before it, `(batch, reach, width, p)`; zeros above
                the grid.
            condition: That of the vertical stack, in this row.

        Returns:
            The outputs of the vertical stack, `(batch, 1, width, p)`; what the horizontal stack
            sees of it, `(batch, 1, width, 2p)`; and the rows before the next one.
        """
        rows = ops.concatenate([rows_before, row], axis=1)
        padded = with_zeros(rows, axis=2, before=self.reach, after=self.reach)
        seen_above = self.up(padded)
        return gate(seen_above + condition), self.up_to_left(seen_above), rows[:, 1:]

    def step_column(
        self, position: Tensor, positions_before: Tensor, from_above: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The horizontal stack at the next position of a row.

        Args:
            position: Float tensor of shape `(batch, 1, 1, p)`.
            positions_before: The `reach` before it, `(batch, 1, reach, p)`; zeros left of the
                grid.
            from_above: What `step_row` gave for this position, with the condition added,
                `(batch, 1, 1, 2p)`.

        Returns:
            The outputs of the horizontal stack, `(batch, 1, 1, p)`; and the positions before
            the next one.
        """
        positions = ops.concatenate([positions_before, position], axis=2)
        gated = gate(self.left(positions) + from_above)
        return position + self.out(gated), positions[:, :, 1:]

    def compute_output_shape(
        self, vertical_shape: Shape, horizontal_shape: Shape | None = None
    ) -> tuple[Shape, Shape]:
        """Returns the shapes of the two stacks."""
        del horizontal_shape
        return vertical_shape, vertical_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        return {**config, "filters": self.filters, "kernel_size": self.kernel_size}


def gate(x: Tensor) -> Tensor:
    """Tanh of the first half of the channels, times the sigmoid of the second."""
    value, share = ops.split(x, 2, axis=-1)
    return ops.tanh(value) * ops.sigmoid(share)


def with_zeros(x: Tensor, axis: int, before: int = 0, after: int = 0) -> Tensor:
    """The grid with lines of zeros before and after it along an axis."""
    # Not ops.pad, which makes torch.compile start anew at each call.
    zeros = ops.zeros_like(x[:, :1] if axis == 1 else x[:, :, :1])
    return ops.concatenate([*[zeros] * before, x, *[zeros] * after], axis=axis)
