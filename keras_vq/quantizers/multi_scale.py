"""Multi-scale quantization: a grid of vectors as a pyramid of code grids."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._inputs import as_array
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import Start
from keras_vq.estimators import straight_through
from keras_vq.quantizers.base import Found, Quantizer, Updates


@keras.saving.register_keras_serializable("keras_vq")
class MultiScale(Quantizer):
    """Quantizes a grid from coarse to fine, each scale what the coarser ones left.

    For each scale s the residual r is averaged down to s cells, quantized, brought back up by
    bicubic interpolation to h, mixed by φ(h) = h / 2 + conv(h) / 2, and taken off: r ← r - φ(h).
    The output f̂ is the sum of all φ(h); the loss is the mean over scales of
    |sg(f̂ₛ) - f|² β + |f̂ₛ - sg(f)|², where f̂ₛ is the sum up to scale s. It takes the place of the
    quantizer's own commitment and codebook loss.

    Source: Tian et al., "Visual Autoregressive Modeling" (VAR), 2024, section 3.2.

    Args:
        quantizer: The quantizer of all scales, with one index a vector. It learns once a batch.
        scales: List of grid sizes, the coarsest first: numbers, for all axes alike, or tuples
            with one number an axis. The last is the size of the inputs' grid.
        mixers: How many convolutions φ the scales share, neighbours the same; 0 for none.
        commitment: β, at least 0.
        estimator: How gradients pass to the inputs; see `Quantizer`.
        **kwargs: `return_codes` and `keras.layers.Layer` arguments; see `Quantizer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, ..., dim)` with one to three grid axes.
        mask: Boolean tensor of shape `inputs.shape[:-1]`. A cell averages what the mask keeps.

    Returns:
        A pair: quantized vectors, and int32 indices of shape `(batch, tokens)`: the cells of all
        scales in row-major order, one scale after the other; -1 for cells without a vector.

    Raises:
        ValueError: If an argument is out of its range, or the inputs' grid is not the last scale.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.MultiScale(keras_vq.VectorQuantizer(512), scales=[1, 2, 4, 8])
        >>> quantized, indices = quantizer(np.zeros((2, 8, 8, 16), "float32"))
        >>> tuple(quantized.shape), tuple(indices.shape)
        ((2, 8, 8, 16), (2, 85))
    """

    indexes_each_vector = False

    commitment = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        quantizer: Quantizer,
        scales: Sequence[int | Sequence[int]],
        mixers: int = 4,
        commitment: float = 0.25,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(quantizer, Quantizer) or quantizer.index_shape:
            raise ValueError(
                f"`quantizer` must be a Quantizer with one index a vector. Received: {quantizer!r}"
            )
        if getattr(quantizer, "estimator", straight_through) is not straight_through:
            raise ValueError(
                "`quantizer` must have the default estimator, because MultiScale estimates the "
                "gradient of the sum of all scales. Give `estimator` to MultiScale. "
                f"Received: a quantizer with estimator {quantizer.estimator!r}"
            )
        self.quantizer = quantizer
        self.scales = _checked_scales(scales)
        if isinstance(mixers, bool) or not isinstance(mixers, int) or mixers < 0:
            raise ValueError(f"`mixers` must be a whole number of at least 0. Received: {mixers!r}")
        self.mixers = mixers
        self.commitment = commitment

    def build(self, input_shape: Shape) -> None:
        """Builds the quantizer and the mixers for inputs of shape `(batch, ..., dim)`."""
        super().build(input_shape)
        grid = tuple(input_shape[1:-1])
        axes = len(grid)
        if not 1 <= axes <= 3:
            raise ValueError(
                "MultiScale needs inputs of shape (batch, ..., dim) with one to three grid axes. "
                f"Received: shape {tuple(input_shape)}"
            )
        self.grids = [
            scale * axes if len(scale) == 1 else scale for scale in map(tuple, self.scales)
        ]
        if self.grids[-1] != grid or any(len(other) != axes for other in self.grids):
            raise ValueError(
                f"The last of `scales` must be the grid of the inputs, and all have its number of "
                f"axes. Received: scales {self.scales} for inputs of shape {tuple(input_shape)}"
            )
        if not self.quantizer.built:
            self.quantizer.build((None, self.dim))
        convolution = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[axes - 1]
        # Without bias, so that what was not quantized stays zero.
        self.convolutions = [
            convolution(
                self.dim,
                3,
                padding="same",
                data_format="channels_last",
                use_bias=False,
                dtype="float32",
            )
            for _ in range(self.mixers)
        ]
        for convolution in self.convolutions:
            convolution.build((None, *grid, self.dim))

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Those of the quantizer."""
        return self.quantizer.codebook_sizes

    @property
    def bits_per_vector(self) -> float:
        """Bits that the indices of one vector of the grid take, coarser scales included."""
        bits = sum(math.prod(grid) for grid in self.grids) * self.quantizer.bits_per_vector
        return bits / math.prod(self.grids[-1])

    def indices_shape(self, input_shape: Shape) -> Shape:
        """Shape `(batch, tokens)`."""
        grids = getattr(self, "grids", None)
        if grids is None:
            axes = len(input_shape) - 2
            grids = [scale * axes if len(scale) == 1 else scale for scale in self.scales]
        return (input_shape[0], sum(math.prod(grid) for grid in grids))

    def find(
        self,
        vectors: Tensor,
        mask: Tensor | None,
        training: bool,
        updates: Updates | None,
        indices: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Found:
        """Finds codes scale after scale."""
        del context, indices
        updates = updates if self.trainable else None
        weights = None if mask is None else ops.cast(mask, "float32")[..., None]
        residual, total = vectors, ops.zeros_like(vectors)
        levels, totals, all_indices = [], [], []
        for scale, grid in enumerate(self.grids):
            cells, cell_mask = _averaged(residual, weights, grid)
            found = self.quantizer.find(cells, cell_mask, training, updates)
            chosen = found.indices
            if cell_mask is not None:
                chosen = self.quantizer.mask_indices(chosen, cell_mask)
            mixed = self._mixed(self.quantizer.decode(chosen), scale)
            total = total + mixed
            residual = residual - ops.stop_gradient(mixed)
            levels.append(found)
            totals.append(total)
            all_indices.append(ops.reshape(chosen, (-1, math.prod(grid))))
        return Found(vectors, (levels, totals), ops.concatenate(all_indices, axis=1), mask)

    def loss(self, found: Found) -> Tensor | float:
        """The mean of the scales' losses."""
        vectors, (levels, totals), _, mask = found
        total_loss: Any = 0.0
        for level, total in zip(levels, totals, strict=True):
            commitment = self.commitment * vq_ops.error_to_fixed(vectors, total, mask)
            loss = commitment + vq_ops.error_to_fixed(total, vectors, mask)
            total_loss = total_loss + loss + self.quantizer.auxiliary_loss(*level)
        return total_loss / len(levels)

    def estimate(self, latents: Tensor, codes: Any, training: bool = False) -> Tensor:
        """The sum of all scales, with a gradient to the inputs."""
        return self.estimator(latents, ops.stop_gradient(codes[1][-1]), training=training)

    def reconstruct(self, codes: Any) -> Tensor:
        """The sum of all scales."""
        return codes[1][-1]

    def decode(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """The grid of indices of shape `(batch, tokens)`; -1 gives zeros."""
        del context
        return self.decode_scales(indices)[-1]

    def decode_scales(self, indices: Tensor) -> list[Tensor]:
        """The grid after each scale, coarse to fine: what VAR shows while it draws.

        Args:
            indices: Int32 tensor of shape `(batch, tokens)`.

        Returns:
            For each scale a float32 tensor of the shape of the inputs.
        """
        indices = ops.convert_to_tensor(indices, dtype="int32")
        total: Any = 0.0
        totals, start = [], 0
        for scale, grid in enumerate(self.grids):
            stop = start + math.prod(grid)
            cells = ops.reshape(indices[:, start:stop], (-1, *grid))
            total = total + self._mixed(self.quantizer.decode(cells), scale)
            totals.append(total)
            start = stop
        # The finest scale has a cell for every vector: a masked vector is one of -1 there.
        return [ops.where((cells >= 0)[..., None], total, 0.0) for total in totals]

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Places the quantizer's codes by data; see `VectorQuantizer.adapt`.

        They are placed among the cells of all scales, each of what coarser cells, not quantized,
        leave of the vectors.
        """
        residual = ops.convert_to_tensor(as_array("vectors", vectors), "float32")
        if not self.built:
            self.build(residual.shape)
        cells_of_scales = []
        for grid in self.grids:
            cells, _ = _averaged(residual, None, grid)
            residual = residual - _grown(cells, self.grids[-1])
            cells_of_scales.append(ops.reshape(cells, (-1, self.dim)))
        self.quantizer.adapt(ops.concatenate(cells_of_scales, axis=0), start)

    def mask_indices(self, indices: Tensor, mask: Tensor) -> Tensor:
        """The indices as they are: `find` marked cells without a vector."""
        del mask
        return indices

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> Any:
        """Returns the mask of the inputs for the quantized vectors."""
        del inputs
        if previous_mask is None or not self.return_codes:
            return previous_mask
        return previous_mask, None

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors of the quantizer of all scales."""
        self.quantizer.set_embeddings(embeddings)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "quantizer": keras.saving.serialize_keras_object(self.quantizer),
            "scales": [list(scale) for scale in self.scales],
            "mixers": self.mixers,
            "commitment": self.commitment,
        }

    def _mixed(self, cells: Tensor, scale: int) -> Tensor:
        """φ of the cells of a scale, brought up to the full grid."""
        cells = _grown(cells, self.grids[-1])
        if not self.mixers:
            return cells
        # Scales share the mixers evenly: the first the first, the last the last.
        share = scale / max(1, len(self.grids) - 1)
        mixer = min(int(share * self.mixers), self.mixers - 1)
        return 0.5 * cells + 0.5 * self.convolutions[mixer](cells)


def area_matrix(size: int, cells: int) -> np.ndarray:
    """The `(cells, size)` matrix that averages what lies in each of evenly spread cells."""
    matrix = np.zeros((cells, size), "float32")
    for cell in range(cells):
        start, stop = cell * size // cells, -(-(cell + 1) * size // cells)
        matrix[cell, start:stop] = 1 / (stop - start)
    return matrix


def bicubic_matrix(cells: int, size: int, sharpness: float = -0.75) -> np.ndarray:
    """The `(size, cells)` matrix of cubic convolution, cells repeated beyond the border.

    Keras's own resizing differs between backends, and codes must not. Source: Keys, "Cubic
    Convolution Interpolation for Digital Image Processing", 1981; the parameter is PyTorch's,
    which VAR was trained with.
    """
    matrix = np.zeros((size, cells))
    for place in range(size):
        centre = (place + 0.5) * cells / size - 0.5
        for offset in range(-1, 3):
            neighbour = math.floor(centre) + offset
            weight = _cubic(abs(centre - neighbour), sharpness)
            matrix[place, min(max(neighbour, 0), cells - 1)] += weight
    return matrix.astype("float32")


def _cubic(distance: float, a: float) -> float:
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    if distance < 2:
        return a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return 0.0


def _along_axis(values: Tensor, matrix: np.ndarray, axis: int) -> Tensor:
    """The product of a matrix with one axis of a tensor."""
    product = ops.tensordot(values, ops.convert_to_tensor(matrix), axes=[[axis], [1]])
    return ops.moveaxis(product, -1, axis)


def _grown(cells: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Cells brought up to a full grid."""
    for axis, full in enumerate(grid):
        size = cells.shape[axis + 1]
        if size != full:
            cells = _along_axis(cells, bicubic_matrix(size, full), axis + 1)
    return cells


def _averaged(
    vectors: Tensor, weights: Tensor | None, grid: tuple[int, ...]
) -> tuple[Tensor, Tensor | None]:
    """Mean vector of each cell, and which cells have one if vectors have weights."""

    def down(values: Tensor) -> Tensor:
        for axis, cells in enumerate(grid):
            size = values.shape[axis + 1]
            if size != cells:
                values = _along_axis(values, area_matrix(size, cells), axis + 1)
        return values

    if weights is None:
        return down(vectors), None
    share = down(weights)
    has_vector = share > 0
    return down(vectors * weights) / ops.where(has_vector, share, 1.0), has_vector[..., 0]


def _checked_scales(scales: Any) -> list[tuple[int, ...]]:
    try:
        checked = [
            tuple(
                _validation.check_positive_integer("scales", size)
                for size in (scale if isinstance(scale, (list, tuple)) else (scale,))
            )
            for scale in scales
        ]
    except TypeError:
        checked = []
    if not checked:
        raise ValueError(
            "`scales` must be a list of grid sizes, such as [1, 2, 4, 8] or [(1, 1), (2, 4)]. "
            f"Received: {scales!r}"
        )
    return checked
