"""Product quantization (PQ)."""

from typing import Any

import keras
from keras import ops

from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.kmeans import Start, read_vectors
from keras_vq.quantizers._parts import (
    checked_parts,
    distinct,
    set_embeddings_of_parts,
)
from keras_vq.quantizers.base import Assignment, DeferredUpdates, Quantizer


@keras.saving.register_keras_serializable("keras_vq")
class ProductQuantizer(Quantizer):
    """Product quantization (PQ): splits each vector into equal parts and quantizes each part.

    With L parts and K code vectors per part, a vector has Kᴸ possible quantized values, for the
    cost of L searches over K code vectors. The loss is the mean of the losses of the parts. The
    parts may be any quantizers: `ProductQuantizer([a, b])` with `ResidualQuantizer` quantizers a
    and b is grouped residual quantization, and a repeated quantizer is multi-head quantization with
    a shared codebook.

    Sources: Jégou et al., "Product Quantization for Nearest Neighbor Search", 2011; Yang et al.,
    "HiFi-Codec", 2023, for groups of residual quantizers.

    Args:
        quantizers: List of L quantizers of vectors of dimension dim / L. A repeated instance is
            shared and updated once per batch.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Returns:
        A tuple `(quantized, codes)`. `codes` is an int32 tensor of codes of shape
        `inputs.shape[:-1] + (L,)`.

    Raises:
        ValueError: If an argument is out of its range, or `dim` is not a multiple of L.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.ProductQuantizer([keras_vq.VectorQuantizer(256) for _ in range(4)])
        >>> quantized, codes = quantizer(np.zeros((2, 10, 16), "float32"))
        >>> tuple(codes.shape), quantizer.codebook_size == 256**4
        ((2, 10, 4), True)
    """

    _hint_without_estimator = "Pass it to the inner quantizers."

    def __init__(self, quantizers: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.quantizers = checked_parts(quantizers)

    def build(self, input_shape: Shape) -> None:
        """Builds the parts for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        parts = len(self.quantizers)
        if self.dim % parts:
            raise ValueError(
                f"The dimension of the inputs must be a multiple of {parts}, the number of parts. "
                f"Received: inputs of shape {tuple(input_shape)}"
            )
        for part in distinct(self.quantizers):
            part._build_for((*input_shape[:-1], self.dim // parts))

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook sizes of all parts, concatenated."""
        return tuple(size for part in self.quantizers for size in part.codebook_sizes)

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Number of parts, followed by the code shape of one part."""
        return (len(self.quantizers), *self.quantizers[0].code_shape)

    def _project_in(self, vectors: Tensor, training: bool = False) -> Any:
        """Returns a list with the latents of each part."""
        pairs = zip(self.quantizers, self._split(vectors), strict=True)
        return [part._project_in(chunk, training=training) for part, chunk in pairs]

    def _assign(
        self,
        vectors: Tensor,
        mask: Tensor | None,
        training: bool,
        updates: DeferredUpdates | None,
        codes: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Assignment:
        """Finds the codes of each part."""
        del context
        updates = updates if self.trainable else None
        axis = len(vectors.shape) - 1
        count = len(self.quantizers)
        given = [None] * count if codes is None else ops.unstack(codes, axis=axis)
        parts = [
            part._assign(chunk, mask, training, updates, chosen)
            for part, chunk, chosen in zip(
                self.quantizers, self._split(vectors), given, strict=True
            )
        ]
        stacked = ops.stack([found.codes for found in parts], axis=axis)
        return Assignment([found.latents for found in parts], parts, stacked, mask)

    def _loss(self, found: Assignment) -> Tensor | float:
        """Computes the mean of the losses of the parts."""
        pairs = zip(self.quantizers, found.quantized, strict=True)
        return sum((part._loss(own) for part, own in pairs), start=0.0) / len(self.quantizers)

    def _estimate(self, latents: Any, quantized: Any, training: bool = False) -> Tensor:
        """Concatenates the quantized vectors of the parts, with a gradient to the latents."""
        triples = zip(self.quantizers, latents, quantized, strict=True)
        return ops.concatenate(
            [
                part._estimate(own, found.quantized, training=training)
                for part, own, found in triples
            ],
            axis=-1,
        )

    def _reconstruct(self, quantized: Any) -> Tensor:
        """Concatenates the quantized vectors of the parts, without their estimators."""
        pairs = zip(self.quantizers, quantized, strict=True)
        return ops.concatenate([part._reconstruct(own.quantized) for part, own in pairs], axis=-1)

    def decode(self, codes: Tensor, context: Tensor | None = None) -> Tensor:
        """Decodes codes to vectors; a part with code -1 is zero."""
        del context
        codes = self._checked_codes(codes)
        axis = len(codes.shape) - len(self.code_shape)
        pairs = zip(self.quantizers, ops.unstack(codes, axis=axis), strict=True)
        return ops.concatenate([part.decode(chosen) for part, chosen in pairs], axis=-1)

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Initializes the code vectors from data; see `VectorQuantizer.adapt`.

        A shared quantizer is initialized from the vectors of all its parts.
        """
        vectors = ops.convert_to_tensor(read_vectors(vectors, max(self.codebook_sizes), start))
        self._build_for(vectors.shape)
        chunks = self._split(vectors)
        for part in distinct(self.quantizers):
            own = [
                ops.reshape(chunk, (-1, chunk.shape[-1]))
                for other, chunk in zip(self.quantizers, chunks, strict=True)
                if other is part
            ]
            part.adapt(ops.concatenate(own, axis=0), start)

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors of each part; see `Quantizer.set_embeddings`.

        Args:
            embeddings: List with the embeddings of each distinct part, for a `VectorQuantizer` an
                array of shape `(codebook_size, dim / L)`.
        """
        set_embeddings_of_parts(self.quantizers, embeddings)

    @property
    def _has_codes(self) -> bool:
        """True if `decode` of every part has all that it needs."""
        return all(part._has_codes for part in self.quantizers)

    def _split(self, vectors: Tensor) -> list[Tensor]:
        return ops.split(vectors, len(self.quantizers), axis=-1)
