"""Quantization in a space of another dimension, between two learned projections."""

import inspect
from typing import Any

import keras

from keras_vq import _validation
from keras_vq._building import build_part
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.kmeans import Start, read_vectors
from keras_vq.quantizers.base import Assignment, DeferredUpdates, Quantizer


@keras.saving.register_keras_serializable("keras_vq")
class ProjectedQuantizer(Quantizer):
    """Projections around a quantizer: to a space of lower dimension, and back after quantization.

    A search in 8 dimensions instead of 512 is faster and leaves fewer dead codes (Yu et al.,
    "Vector-quantized Image Modeling with Improved VQGAN" (ViT-VQGAN), 2021, section 3.2). A
    quantizer of fixed dimension, such as `FiniteScalarQuantizer`, becomes applicable to vectors of
    any dimension.

    Both projections receive gradients. The loss is that of the quantizer, in the lower dimension.

    Args:
        quantizer: Quantizer of vectors of the lower dimension.
        project_in: Integer, the lower dimension, for a `Dense` layer; or a layer that maps
            `(..., dim)` to `(..., lower)`.
        project_out: Layer that maps `(..., lower)` to `(..., dim)`. Defaults to `None`, for a
            `Dense` layer.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Raises:
        ValueError: If an argument is out of its range, or a projection has the wrong dimension.

    Example:
        >>> import numpy as np, keras_vq
        >>> inner = keras_vq.VectorQuantizer(1024, metric="cosine")
        >>> quantizer = keras_vq.ProjectedQuantizer(inner, 8)
        >>> quantized, codes = quantizer(np.zeros((2, 7, 7, 256), "float32"))
        >>> tuple(quantized.shape), tuple(codes.shape)
        ((2, 7, 7, 256), (2, 7, 7))
    """

    _hint_without_estimator = "Pass it to the inner quantizer."

    def __init__(
        self, quantizer: Quantizer, project_in: Any, project_out: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(quantizer, Quantizer):
            raise ValueError(f"`quantizer` must be a keras_vq Quantizer. Received: {quantizer!r}")
        if not isinstance(project_in, keras.Layer):
            project_in = _validation.check_positive_integer("project_in", project_in)
        self.quantizer = quantizer
        self.given_project_in = project_in
        self.given_project_out = project_out

    def build(self, input_shape: Shape) -> None:
        """Builds the projections and the quantizer for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        given = self.given_project_in
        into = given if isinstance(given, keras.Layer) else _dense(given, "project_in")
        lower_shape = build_part(into, input_shape)
        self.quantizer._build_for(lower_shape)
        out = self.given_project_out or _dense(self.dim, "project_out")
        output_shape = build_part(out, self.quantizer._compute_quantized_shape(lower_shape))
        if output_shape != tuple(input_shape):
            raise ValueError(
                f"`_project_out` must return the shape of the inputs, {tuple(input_shape)}. "
                f"Received: a layer that returns shape {output_shape}"
            )
        self.into, self.out = into, out
        self.into_takes_training = "training" in inspect.signature(into.call).parameters

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook sizes of the inner quantizer."""
        return self.quantizer.codebook_sizes

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Code shape of the inner quantizer."""
        return self.quantizer.code_shape

    def _project_in(self, vectors: Tensor, training: bool = False) -> Any:
        """Projects the vectors and returns the latents of the inner quantizer."""
        return self.quantizer._project_in(self._projected(vectors, training), training=training)

    def _assign(
        self,
        vectors: Tensor,
        mask: Tensor | None,
        training: bool,
        updates: DeferredUpdates | None,
        codes: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Assignment:
        """Finds the codes of the projected vectors."""
        del context
        updates = updates if self.trainable else None
        lower = self._projected(vectors, training)
        found = self.quantizer._assign(lower, mask, training, updates, codes)
        return Assignment(found.latents, found, found.codes, mask)

    def _loss(self, found: Assignment) -> Tensor | float:
        """Computes the loss of the inner quantizer."""
        return self.quantizer._loss(found.quantized)

    def _estimate(self, latents: Any, quantized: Any, training: bool = False) -> Tensor:
        """Projects the quantized vectors back, with a gradient to the latents."""
        return self._projected_back(
            self.quantizer._estimate(latents, quantized.quantized, training=training)
        )

    def _reconstruct(self, quantized: Any) -> Tensor:
        """Projects the quantized vectors back, without the gradient estimator."""
        return self._projected_back(self.quantizer._reconstruct(quantized.quantized))

    def decode(self, codes: Tensor, context: Tensor | None = None) -> Tensor:
        """Decodes codes to vectors in the input space. -1 is decoded to zeros."""
        del context
        codes = self._checked_codes(codes)
        valid = codes >= 0
        for _ in self.code_shape:
            valid = keras.ops.any(valid, axis=-1)
        vectors = self._projected_back(self.quantizer.decode(codes))
        return keras.ops.where(valid[..., None], vectors, 0.0)

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Initializes the code vectors from data; see `VectorQuantizer.adapt`."""
        largest = max(self.codebook_sizes)
        vectors = read_vectors(vectors, largest, start)
        vectors = keras.ops.convert_to_tensor(vectors)
        self._build_for(vectors.shape)
        self.quantizer.adapt(self._projected(vectors, False), start)

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors of the inner quantizer, in its lower dimension."""
        self.quantizer.set_embeddings(embeddings)

    def _projected(self, vectors: Tensor, training: bool) -> Tensor:
        arguments = {"training": training} if self.into_takes_training else {}
        return keras.ops.cast(self.into(vectors, **arguments), "float32")

    def _projected_back(self, vectors: Tensor) -> Tensor:
        return keras.ops.cast(self.out(vectors), "float32")


def _dense(dim: int, name: str) -> keras.Layer:
    # Float32, because rounding to half precision before the search would change codes.
    return keras.layers.Dense(dim, name=name, dtype="float32")
