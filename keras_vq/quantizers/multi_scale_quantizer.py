"""Multi-scale residual quantization (VAR)."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.kmeans import Start, read_vectors
from keras_vq.estimators import straight_through
from keras_vq.quantizers.base import Assignment, DeferredUpdates, Quantizer


@keras.saving.register_keras_serializable("keras_vq")
class MultiScaleQuantizer(Quantizer):
    """Multi-scale residual quantization (VAR): quantizes a grid to a pyramid of code grids.

    From coarse to fine, each scale s quantizes the residual r of the coarser scales: r is averaged
    to the grid of the scale, quantized, upsampled to h by bicubic interpolation and mixed by
    φ(h) = h / 2 + conv(h) / 2. Then r ← r - φ(h). The output f̂ is the sum of all φ(h). The added
    loss is the mean over scales of

        β · mean |f - sg(f̂ₛ)|² + mean |f̂ₛ - sg(f)|²

    where f̂ₛ is the sum up to scale s. It replaces the commitment loss and codebook loss of the
    quantizer. Other losses of the quantizer, such as an entropy loss, are averaged over scales too.

    Source: Tian et al., "Visual Autoregressive Modeling" (VAR), 2024, section 3.2, with
    the assignment of convolutions to scales of its public implementation.

    Args:
        quantizer: Quantizer with one code per vector, shared by all scales. It is updated once
            per batch.
        scales: List of grid sizes, coarsest first. An entry is an integer, for all axes, or a
            tuple with one integer per axis. The last entry is the grid size of the inputs.
        num_phi: Integer, at least 0. Number of convolutions of φ, each shared by adjacent scales.
            0 for φ(h) = h. Defaults to 4.
        commitment_weight: Float, at least 0. Weight β of the commitment loss. Defaults to 0.25.
        use_bias: Boolean. Whether the convolutions of φ have a bias, as in released models.
            Defaults to `False`, so that cells without a code contribute zero.
        estimator: Gradient estimator; see `Quantizer`. Defaults to `"straight_through"`.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, ..., dim)` with one to three grid axes.
        mask: Boolean tensor of shape `inputs.shape[:-1]`. Each cell averages unmasked vectors only.

    Returns:
        A tuple `(quantized, codes)`. `codes` is an int32 tensor of codes of shape
        `(batch, tokens)`: the cells of each scale in row-major order, coarsest scale first; -1 for
        cells without unmasked vectors.

    Raises:
        ValueError: If an argument is out of its range, or the grid of the inputs is not the last
            scale.

    Example:
        >>> import numpy as np, keras_vq
        >>> shared = keras_vq.VectorQuantizer(512)
        >>> quantizer = keras_vq.MultiScaleQuantizer(shared, scales=[1, 2, 4, 8])
        >>> quantized, codes = quantizer(np.zeros((2, 8, 8, 16), "float32"))
        >>> tuple(quantized.shape), tuple(codes.shape)
        ((2, 8, 8, 16), (2, 85))
    """

    _has_codes_per_vector = False

    commitment_weight = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        quantizer: Quantizer,
        scales: Sequence[int | Sequence[int]],
        num_phi: int = 4,
        commitment_weight: float = 0.25,
        use_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(quantizer, Quantizer) or quantizer.code_shape:
            raise ValueError(
                f"`quantizer` must be a Quantizer with one code per vector. Received: {quantizer!r}"
            )
        if getattr(quantizer, "estimator", straight_through) is not straight_through:
            raise ValueError(
                "`quantizer` must have the default estimator, because the estimator applies to the "
                "sum of all scales. Pass `estimator` to MultiScaleQuantizer. "
                f"Received: a quantizer with estimator {quantizer.estimator!r}"
            )
        self.quantizer = quantizer
        self.scales = _checked_scales(scales)
        if isinstance(num_phi, bool) or not isinstance(num_phi, int) or num_phi < 0:
            raise ValueError(f"`num_phi` must be a non-negative integer. Received: {num_phi!r}")
        self.num_phi = num_phi
        self.use_bias = use_bias
        self.commitment_weight = commitment_weight

    def build(self, input_shape: Shape) -> None:
        """Builds the quantizer and the convolutions for inputs of shape `(batch, ..., dim)`."""
        super().build(input_shape)
        grid = tuple(input_shape[1:-1])
        axes = len(grid)
        if not 1 <= axes <= 3:
            raise ValueError(
                "The inputs must have the shape (batch, ..., dim) with one to three grid axes. "
                f"Received: shape {tuple(input_shape)}"
            )
        self.grids = [
            scale * axes if len(scale) == 1 else scale for scale in map(tuple, self.scales)
        ]
        if self.grids[-1] != grid or any(len(other) != axes for other in self.grids):
            raise ValueError(
                f"The last entry of `scales` must be the grid shape of the inputs, and all entries "
                f"must have its number of axes. Received: scales {self.scales} for inputs of shape "
                f"{tuple(input_shape)}"
            )
        self.quantizer._build_for((None, self.dim))
        convolution = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[axes - 1]
        self.convolutions = [
            convolution(
                self.dim,
                3,
                padding="same",
                data_format="channels_last",
                use_bias=self.use_bias,
                dtype="float32",
            )
            for _ in range(self.num_phi)
        ]
        for convolution in self.convolutions:
            convolution.build((None, *grid, self.dim))

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook sizes of the inner quantizer."""
        return self.quantizer.codebook_sizes

    @property
    def bits_per_vector(self) -> float:
        """Number of bits per vector of the grid, including the codes of coarser scales."""
        bits = sum(math.prod(grid) for grid in self.grids) * self.quantizer.bits_per_vector
        return bits / math.prod(self.grids[-1])

    def _compute_codes_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the codes, `(batch, tokens)`."""
        grids = getattr(self, "grids", None)
        if grids is None:
            axes = len(input_shape) - 2
            grids = [scale * axes if len(scale) == 1 else scale for scale in self.scales]
        return (input_shape[0], sum(math.prod(grid) for grid in grids))

    def _assign(
        self,
        vectors: Tensor,
        mask: Tensor | None,
        training: bool,
        updates: DeferredUpdates | None,
        codes: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Assignment:
        """Finds the codes of all scales, from coarse to fine."""
        del context, codes
        updates = updates if self.trainable else None
        weights = None if mask is None else ops.cast(mask, "float32")[..., None]
        residual, total = vectors, ops.zeros_like(vectors)
        scales, totals, all_codes = [], [], []
        for scale, grid in enumerate(self.grids):
            cells, cell_mask = _averaged(residual, weights, grid)
            found = self.quantizer._assign(cells, cell_mask, training, updates)
            chosen = found.codes
            if cell_mask is not None:
                chosen = self.quantizer._mask_codes(chosen, cell_mask)
            mixed = self._mixed(self.quantizer.decode(chosen), scale)
            total = total + mixed
            residual = residual - ops.stop_gradient(mixed)
            scales.append(found)
            totals.append(total)
            all_codes.append(ops.reshape(chosen, (-1, math.prod(grid))))
        return Assignment(vectors, (scales, totals), ops.concatenate(all_codes, axis=1), mask)

    def _loss(self, found: Assignment) -> Tensor | float:
        """Computes the mean of the losses of all scales."""
        vectors, (scales, totals), _, mask, _ = found
        total_loss: Any = 0.0
        for scale, total in zip(scales, totals, strict=True):
            commitment = self.commitment_weight * vq_ops.stop_gradient_mse(vectors, total, mask)
            loss = commitment + vq_ops.stop_gradient_mse(total, vectors, mask)
            total_loss = total_loss + loss + self.quantizer._auxiliary_loss(scale)
        return total_loss / len(scales)

    def _estimate(self, latents: Tensor, quantized: Any, training: bool = False) -> Tensor:
        """Returns the sum of all scales, with a gradient to the inputs."""
        return self.estimator(latents, ops.stop_gradient(quantized[1][-1]), training=training)

    def _reconstruct(self, quantized: Any) -> Tensor:
        """Returns the sum of all scales."""
        return quantized[1][-1]

    def decode(self, codes: Tensor, context: Tensor | None = None) -> Tensor:
        """Decodes codes of shape `(batch, tokens)` to a grid of vectors, zeros where masked."""
        del context
        return self.decode_scales(codes)[-1]

    def decode_scales(self, codes: Tensor) -> list[Tensor]:
        """Decodes codes to the partial reconstruction after each scale, coarse to fine.

        Args:
            codes: Int32 tensor of codes of shape `(batch, tokens)`.

        Returns:
            List with one float32 tensor per scale, each in the shape of the inputs.
        """
        codes = self._checked_codes(codes)
        total: Any = 0.0
        totals, start = [], 0
        for scale, grid in enumerate(self.grids):
            stop = start + math.prod(grid)
            cells = ops.reshape(codes[:, start:stop], (-1, *grid))
            total = total + self._mixed(self.quantizer.decode(cells), scale)
            totals.append(total)
            start = stop
        # In the finest scale each vector has its own cell, with code -1 if the vector is masked.
        return [ops.where((cells >= 0)[..., None], total, 0.0) for total in totals]

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Initializes the code vectors from data; see `VectorQuantizer.adapt`.

        The data are the cells of all scales, computed from residuals without quantization.
        """
        largest = max(self.quantizer.codebook_sizes)
        vectors = read_vectors(vectors, largest, start, flatten=False)
        residual = ops.convert_to_tensor(vectors)
        self._build_for(residual.shape)
        cells_of_scales = []
        for grid in self.grids:
            cells, _ = _averaged(residual, None, grid)
            residual = residual - _grown(cells, self.grids[-1])
            cells_of_scales.append(ops.reshape(cells, (-1, self.dim)))
        self.quantizer.adapt(ops.concatenate(cells_of_scales, axis=0), start)

    def _mask_codes(self, codes: Tensor, mask: Tensor) -> Tensor:
        """Returns the codes unchanged: `_assign` has set cells without a vector to -1."""
        del mask
        return codes

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> Any:
        """Returns the input mask for the quantized vectors, and none for the codes."""
        del inputs
        if previous_mask is None or not self.return_codes:
            return previous_mask
        return previous_mask, None

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors of the quantizer that all scales share."""
        self.quantizer.set_embeddings(embeddings)

    def _mixed(self, cells: Tensor, scale: int) -> Tensor:
        """Upsamples the cells of a scale to the full grid and applies φ."""
        cells = _grown(cells, self.grids[-1])
        if not self.num_phi:
            return cells
        place = phi_of_scale(scale, len(self.grids), self.num_phi)
        return 0.5 * cells + 0.5 * self.convolutions[place](cells)


def phi_of_scale(scale: int, scales: int, num_phi: int) -> int:
    """Returns the index of the convolution of a scale: the one with the nearest position in [0, 1].

    Two of ten scales are equally far from two of four convolutions; their order is that of the
    released models only if it is rounded as in the public implementation of VAR.
    """
    margin = 1 / 3 / num_phi if num_phi == 4 else 1 / 2 / num_phi
    positions = np.linspace(margin, 1 - margin, num_phi)
    return int(np.argmin(np.abs(positions - scale / max(1, scales - 1))))


def area_matrix(size: int, cells: int) -> np.ndarray:
    """Returns the `(cells, size)` matrix that averages an axis over evenly spaced cells."""
    matrix = np.zeros((cells, size), "float32")
    for cell in range(cells):
        start, stop = cell * size // cells, -(-(cell + 1) * size // cells)
        matrix[cell, start:stop] = 1 / (stop - start)
    return matrix


def bicubic_matrix(cells: int, size: int, sharpness: float = -0.75) -> np.ndarray:
    """Returns the `(size, cells)` matrix of cubic interpolation with repeated border cells.

    Replaces the resizing of Keras, which differs between backends and would change the codes.
    Source: Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981. The default
    `sharpness` is that of PyTorch, with which VAR was trained.
    """
    matrix = np.zeros((size, cells))
    for place in range(size):
        center = (place + 0.5) * cells / size - 0.5
        for offset in range(-1, 3):
            neighbor = math.floor(center) + offset
            weight = _cubic(abs(center - neighbor), sharpness)
            matrix[place, min(max(neighbor, 0), cells - 1)] += weight
    return matrix.astype("float32")


def _cubic(distance: float, a: float) -> float:
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    if distance < 2:
        return a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return 0.0


def _along_axis(values: Tensor, matrix: np.ndarray, axis: int) -> Tensor:
    """Multiplies one axis of a tensor by a matrix."""
    product = ops.tensordot(values, ops.convert_to_tensor(matrix), axes=[[axis], [1]])
    return ops.moveaxis(product, -1, axis)


def _grown(cells: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Upsamples cells to a full grid by cubic interpolation."""
    for axis, full in enumerate(grid):
        size = cells.shape[axis + 1]
        if size != full:
            cells = _along_axis(cells, bicubic_matrix(size, full), axis + 1)
    return cells


def _averaged(
    vectors: Tensor, weights: Tensor | None, grid: tuple[int, ...]
) -> tuple[Tensor, Tensor | None]:
    """Averages vectors over cells; with weights, also returns which cells are not empty."""

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
