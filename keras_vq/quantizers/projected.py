"""Quantization in a space of another dimension, between two learned projections."""

from typing import Any

import keras

from keras_vq import _validation
from keras_vq._building import build_part
from keras_vq._inputs import as_array
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import Start
from keras_vq.quantizers.base import Found, Quantizer, Updates


@keras.saving.register_keras_serializable("keras_vq")
class Projected(Quantizer):
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
        >>> quantizer = keras_vq.Projected(keras_vq.VectorQuantizer(1024, metric="cosine"), 8)
        >>> quantized, indices = quantizer(np.zeros((2, 7, 7, 256), "float32"))
        >>> tuple(quantized.shape), tuple(indices.shape)
        ((2, 7, 7, 256), (2, 7, 7))
    """

    hint_without_estimator = "Give it to the quantizer inside."

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
        self.quantizer.build_for(lower_shape)
        out = self.given_project_out or _dense(self.dim, "project_out")
        output_shape = build_part(out, self.quantizer.output_shape_of(lower_shape))
        if output_shape != tuple(input_shape):
            raise ValueError(
                f"`project_out` must give the inputs' shape, {tuple(input_shape)}. "
                f"Received: a layer that returns shape {output_shape}"
            )
        self.into, self.out = into, out

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook sizes of the inner quantizer."""
        return self.quantizer.codebook_sizes

    @property
    def index_shape(self) -> tuple[int, ...]:
        """Index shape of the inner quantizer."""
        return self.quantizer.index_shape

    def project_in(self, vectors: Tensor, training: bool = False) -> Any:
        """Projects the vectors and returns the latents of the inner quantizer."""
        return self.quantizer.project_in(self._projected(vectors, training), training=training)

    def find(
        self,
        vectors: Tensor,
        mask: Tensor | None,
        training: bool,
        updates: Updates | None,
        indices: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Found:
        """Finds the codes of the projected vectors."""
        del context
        updates = updates if self.trainable else None
        lower = self._projected(vectors, training)
        found = self.quantizer.find(lower, mask, training, updates, indices)
        return Found(found.latents, found, found.indices, mask)

    def loss(self, found: Found) -> Tensor | float:
        """Computes the loss of the inner quantizer."""
        return self.quantizer.loss(found.codes)

    def estimate(self, latents: Any, codes: Any, training: bool = False) -> Tensor:
        """Projects the quantized vectors back, with a gradient to the latents."""
        return self._projected_back(
            self.quantizer.estimate(latents, codes.codes, training=training)
        )

    def reconstruct(self, codes: Any) -> Tensor:
        """Projects the quantized vectors back, without the gradient estimator."""
        return self._projected_back(self.quantizer.reconstruct(codes.codes))

    def decode(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Decodes indices to vectors in the input space. -1 is decoded to zeros."""
        del context
        indices = self._checked_indices(indices)
        valid = indices >= 0
        for _ in self.index_shape:
            valid = keras.ops.any(valid, axis=-1)
        vectors = self._projected_back(self.quantizer.decode(indices))
        return keras.ops.where(valid[..., None], vectors, 0.0)

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Initializes the code vectors from data; see `VectorQuantizer.adapt`."""
        vectors = keras.ops.convert_to_tensor(as_array("vectors", vectors), "float32")
        self.build_for(vectors.shape)
        self.quantizer.adapt(self._projected(vectors, False), start)

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors of the inner quantizer, in its lower dimension."""
        self.quantizer.set_embeddings(embeddings)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "quantizer": serialize(self.quantizer),
            "project_in": serialize(self.given_project_in),
            "project_out": serialize(self.given_project_out),
        }

    def _projected(self, vectors: Tensor, training: bool) -> Tensor:
        return keras.ops.cast(_run(self.into, vectors, training), "float32")

    def _projected_back(self, vectors: Tensor) -> Tensor:
        return keras.ops.cast(self.out(vectors), "float32")


def _dense(dim: int, name: str) -> keras.Layer:
    # Float32, because rounding to half precision before the search would change codes.
    return keras.layers.Dense(dim, name=name, dtype="float32")


def _run(layer: keras.Layer, vectors: Tensor, training: bool) -> Tensor:
    return layer(vectors, training=training) if layer._call_has_training_arg else layer(vectors)
