"""The vector quantizer of VQ-VAE: each vector becomes its nearest code."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation, estimators
from keras_vq import ops as vq_ops
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import BaseCodebook, Start
from keras_vq.codebooks.ema_codebook import EMACodebook
from keras_vq.codebooks.restart import DeadCodeRestart
from keras_vq.quantizers.base import Quantizer


@keras.saving.register_keras_serializable("keras_vq")
class VectorQuantizer(Quantizer):
    """Replaces each vector by the nearest code of a codebook.

    k = argmin_k |x - e_k|², q = e_k; the added loss is β · mean |x - sg(q)|², plus the
    codebook's own loss if it learns by gradient. Both are taken with the codes from before the
    update. Source: van den Oord et al., "Neural Discrete Representation Learning", 2017.

    State that changes in training: the codebook's.

    Args:
        codebook: A `Codebook` (learnt by gradient) or `EMACodebook` (by moving averages), or
            the number of codes: then an `EMACodebook` of that size that restarts dead codes.
        commitment: β, weight of the commitment loss, at least 0.
        estimator: How gradients pass to the inputs; see `Quantizer`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of its range, or inputs have another dimension than
            the codes.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(512)
        >>> quantized, indices = quantizer(np.zeros((2, 7, 7, 16), "float32"))
        >>> tuple(quantized.shape), tuple(indices.shape)
        ((2, 7, 7, 16), (2, 7, 7))
    """

    def __init__(
        self,
        codebook: int | BaseCodebook,
        commitment: float = 0.25,
        estimator: str | estimators.Estimator = "straight_through",
        **kwargs: Any,
    ) -> None:
        super().__init__(estimator, **kwargs)
        if not isinstance(codebook, BaseCodebook):
            codebook = EMACodebook(codebook, restart=DeadCodeRestart())
        self.codebook = codebook
        self.commitment = _validation.check_not_negative("commitment", commitment)

    def build(self, input_shape: Shape) -> None:
        """Builds the codebook for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        if not self.codebook.built:
            self.codebook.build(input_shape)
        if self.codebook.dim != self.dim:
            raise ValueError(
                f"The codebook holds codes of dimension {self.codebook.dim}, and a vector is "
                f"quantized to one of its own dimension. Received: inputs of shape "
                f"{tuple(input_shape)}"
            )

    @property
    def codebook_size(self) -> int:
        """Number of codes, K."""
        return self.codebook.codebook_size

    def find_codes(self, inputs: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        """The nearest code of each vector, and its index."""
        del training
        indices = self.codebook(ops.stop_gradient(inputs))
        return self.codebook.lookup(indices), indices

    def decode(self, indices: Tensor) -> Tensor:
        """The codes of indices; -1 gives zeros."""
        indices = ops.convert_to_tensor(indices, dtype="int32")
        codes = self.codebook.lookup(ops.maximum(indices, 0))
        return ops.where((indices >= 0)[..., None], codes, 0.0)

    def auxiliary_loss(
        self, inputs: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Commitment loss, plus the codebook's own."""
        del indices
        distance = ops.mean(ops.square(inputs - ops.stop_gradient(codes)), axis=-1)
        commitment = self.commitment * vq_ops.masked_mean(distance, mask)
        return commitment + self.codebook.loss(inputs, codes, mask)

    def update(self, inputs: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None) -> None:
        """Hands the codebook the batch's statistics."""
        self.codebook.update(self.codebook.statistics(inputs, codes, indices, mask))

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Places the codes by data, before training; see `BaseCodebook.adapt`."""
        if not self.built:
            self.build(vectors.shape)
        self.codebook.adapt(vectors, start)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "codebook": keras.saving.serialize_keras_object(self.codebook),
            "commitment": self.commitment,
        }
