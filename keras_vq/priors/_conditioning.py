"""Conditioning of priors on class labels and coarser codes."""

from typing import Any

import keras
from keras import layers, ops

from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor
from keras_vq.layers.code_embedding import CodeEmbedding


@keras.saving.register_keras_serializable("keras_vq")
class Conditioning(ConfigurableLayer):
    """Embedding of class labels and coarser codes for each position of a code grid.

    Coarser codes are embedded, pass through two residual convolution blocks, and are upsampled to
    the grid by repetition (Razavi et al., "Generating Diverse High-Fidelity Images with
    VQ-VAE-2", 2019).

    Args:
        hidden_dim: Integer. Dimension of the output vectors.
        grid: Tuple of integers. (height, width) of the code grid.
        num_classes: Integer. Number of classes; 0 disables class conditioning. The label
            `num_classes` stands for "no label". Defaults to 0.
        condition_sizes: Tuple of integers. Codebook sizes of the coarser codes; () disables
            conditioning on codes. Defaults to ().
        condition_grid: Tuple of integers. (height, width) of the coarser codes. Must divide
            `grid`. Defaults to (1, 1).
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(
        self,
        hidden_dim: int,
        grid: tuple[int, int],
        num_classes: int = 0,
        condition_sizes: tuple[int, ...] = (),
        condition_grid: tuple[int, int] = (1, 1),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim, self.grid, self.num_classes = hidden_dim, grid, num_classes
        self.condition_sizes, self.condition_grid = condition_sizes, condition_grid

    def build(self, input_shape: Shape) -> None:
        """Creates the layers."""
        del input_shape
        policy, grid = self.dtype_policy, (None, *self.condition_grid, self.hidden_dim)
        if self.num_classes:
            self.label = layers.Embedding(self.num_classes + 1, self.hidden_dim, dtype=policy)
            self.label.build((None,))
        if self.condition_sizes:
            self.coarse = CodeEmbedding(self.condition_sizes, self.hidden_dim, dtype=policy)
            self.coarse.build((*grid[:-1], len(self.condition_sizes)))
            options: dict[str, Any] = {"dtype": policy, "data_format": "channels_last"}
            same = {"padding": "same", "activation": "relu", **options}
            self.around = [layers.Conv2D(self.hidden_dim, 3, **same) for _ in range(2)]
            self.mixed = [layers.Conv2D(self.hidden_dim, 1, **options) for _ in range(2)]
            for part in (*self.around, *self.mixed):
                part.build(grid)

    def call(self, given: dict[str, Tensor]) -> Tensor | None:
        """Computes the conditioning vectors.

        Args:
            given: Dictionary with `labels` (int32 of shape `(batch,)`) and `condition` (int32,
                coarser codes), as configured.

        Returns:
            Float tensor of shape `(batch, height, width, dim)`, of shape `(batch, 1, 1, dim)` with
            labels only, or None without conditioning.
        """
        vectors = None
        if self.num_classes:
            vectors = self.label(given["labels"])[:, None, None, :]
        if self.condition_sizes:
            shape = (-1, *self.condition_grid, len(self.condition_sizes))
            x = self.coarse(ops.reshape(given["condition"], shape))
            for around, mixed in zip(self.around, self.mixed, strict=True):
                x = x + mixed(around(x))
            for axis in (0, 1):
                x = ops.repeat(x, self.grid[axis] // self.condition_grid[axis], axis=axis + 1)
            vectors = x if vectors is None else vectors + x
        return vectors
