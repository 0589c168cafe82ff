"""Residual vector quantization (RVQ)."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.kmeans import Start, read_vectors
from keras_vq.estimators import Estimator
from keras_vq.quantizers._parts import (
    checked_parts,
    distinct,
    set_embeddings_of_parts,
)
from keras_vq.quantizers.base import Assignment, DeferredUpdates, Quantizer
from keras_vq.quantizers.beam_search import beam_search


@keras.saving.register_keras_serializable("keras_vq")
class ResidualQuantizer(Quantizer):
    """Residual vector quantization (RVQ): each stage quantizes the residual of the previous stages.

    r₀ = x; qᵢ = Qᵢ(rᵢ₋₁), rᵢ = rᵢ₋₁ - sg(qᵢ); the output is Σ qᵢ. The loss is the sum of the losses
    of the stages, each on its own residual. Each stage applies its own gradient estimator, to
    rᵢ = rᵢ₋₁ - qᵢ without the stop-gradient, so that the gradient of the sum is that of a single
    quantizer: the identity for straight-through stages. With the stop-gradient it would be
    multiplied by the number of stages.

    Sources: Zeghidour et al., "SoundStream", 2021; Lee et al., "Autoregressive Image Generation
    using Residual Quantization" (RQ-VAE), 2022, for the shared codebook; Huijben et al.,
    "Residual Quantization with Implicit Neural Codebooks" (QINCo), 2024, for codebooks that depend
    on the previous stages.

    Args:
        quantizers: List of stages: any quantizers of vectors of the same dimension. A repeated
            instance is a shared codebook, which is updated once per batch.
        dropout: Float in [0, 1]. Quantizer dropout: probability that a training example uses only
            the first n stages, with n uniform from 1 to the number of stages. The model then also
            works with fewer stages. Defaults to 0.0.
        beam_size: Integer. Number of partial sums kept by the beam search. 1 selects the nearest
            code vector in each stage; larger values find closer sums in `beam_size` times the time.
            They need stages with a method `nearest_codes` (`VectorQuantizer`,
            `ImplicitNeuralQuantizer`) and without random codes. Defaults to 1.
        estimator: Gradient estimator of the sum, which replaces those of the stages. Defaults to
            `None`, for those of the stages. Pass `Synchronized` here: in the stages its gradients
            to the code vectors cancel, except in the last stage.
        seed: Integer. Seed of the dropout. Defaults to `None`.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, ..., dim)`.

    Returns:
        A tuple `(quantized, codes)`. `codes` is an int32 tensor of codes of shape
        `inputs.shape[:-1] + (stages,)`, -1 for dropped stages.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import numpy as np, keras_vq
        >>> stages = [keras_vq.VectorQuantizer(256) for _ in range(4)]
        >>> quantizer = keras_vq.ResidualQuantizer(stages)
        >>> quantized, codes = quantizer(np.zeros((2, 10, 16), "float32"))
        >>> tuple(codes.shape), quantizer.bits_per_vector
        ((2, 10, 4), 32.0)
    """

    dropout = Hyperparameter(_validation.check_probability, zero_is_off=True)

    def __init__(
        self,
        quantizers: Any,
        dropout: float = 0.0,
        beam_size: int = 1,
        estimator: str | Estimator | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__("straight_through" if estimator is None else estimator, **kwargs)
        self.has_own_estimator = estimator is not None
        self.quantizers = checked_parts(quantizers)
        self.dropout = dropout
        self.drops_stages = dropout > 0
        self.beam_size = _validation.check_positive_integer("beam_size", beam_size)
        if self.beam_size > 1 and not all(
            hasattr(part, "nearest_codes") for part in self.quantizers
        ):
            raise ValueError(
                "All stages must have a method `nearest_codes` for `beam_size` > 1, such as "
                f"VectorQuantizer. Received: {[type(q).__name__ for q in self.quantizers]}"
            )
        if self.beam_size > 1 and any(
            getattr(part, "temperature", 0.0) for part in self.quantizers
        ):
            raise ValueError(
                "All stages must have temperature 0 for `beam_size` > 1, because beam search is "
                "deterministic. Received: stages with a positive temperature"
            )
        self.seed = seed
        if self.drops_stages:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Shape) -> None:
        """Builds the stages for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        for part in distinct(self.quantizers):
            part._build_for(input_shape)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook sizes of all stages, concatenated."""
        return tuple(size for part in self.quantizers for size in part.codebook_sizes)

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Number of stages, followed by the code shape of one stage."""
        return (len(self.quantizers), *self.quantizers[0].code_shape)

    def _assign(
        self,
        vectors: Tensor,
        mask: Tensor | None,
        training: bool,
        updates: DeferredUpdates | None,
        codes: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Assignment:
        """Finds the codes stage by stage, or by beam search."""
        del context
        updates = updates if self.trainable else None
        axis = len(vectors.shape) - 1
        if codes is None and self.beam_size > 1:
            codes = beam_search(self.quantizers, ops.stop_gradient(vectors), self.beam_size)
        given: list[Tensor | None] = [None] * len(self.quantizers)
        if codes is not None:
            given = ops.unstack(codes, axis=axis)
        kept = self._stages_kept(vectors, mask) if training and self.drops_stages else None

        has_context = any(part._takes_context for part in self.quantizers)
        residual, total = vectors, None
        stages: list[Assignment] = []
        for stage, part in enumerate(self.quantizers):
            stage_mask = mask if kept is None else kept[stage]
            found = part._assign(residual, stage_mask, training, updates, given[stage], total)
            stages.append(found)
            if len(stages) == len(self.quantizers):
                break  # The last residual is unused; skipping it saves time in eager mode.
            quantized = ops.stop_gradient(part._reconstruct(found.quantized))
            residual = residual - quantized
            if has_context:
                # Same order of additions as in `decode`, so that both compute the same context.
                total = quantized if total is None else total + quantized

        all_codes = [found.codes for found in stages]
        if kept is not None:
            all_codes = [
                part._mask_codes(chosen, kept[stage])
                for stage, (part, chosen) in enumerate(zip(self.quantizers, all_codes, strict=True))
            ]
        return Assignment(vectors, stages, ops.stack(all_codes, axis=axis), mask)

    def _loss(self, found: Assignment) -> Tensor | float:
        """Computes the sum of the losses of the stages."""
        pairs = zip(self.quantizers, found.quantized, strict=True)
        return sum((part._loss(stage) for part, stage in pairs), start=0.0)

    def _estimate(self, latents: Tensor, quantized: Any, training: bool = False) -> Tensor:
        """Returns the sum of the quantized vectors of all stages, with a gradient to the inputs."""
        if self.has_own_estimator:
            return self.estimator(latents, self._reconstruct(quantized), training=training)
        total = None
        residual = latents
        for stage, (part, found) in enumerate(zip(self.quantizers, quantized, strict=True)):
            # After the first stage `found.latents` lack the gradient of the previous stages.
            own = found.latents if stage == 0 else part._project_in(residual, training=training)
            estimate = _masked(part._estimate(own, found.quantized, training=training), found.mask)
            total = estimate if total is None else total + estimate
            if stage + 1 < len(self.quantizers):
                residual = residual - estimate
        return total

    def _reconstruct(self, quantized: Any) -> Tensor:
        """Returns the sum of the quantized vectors of all stages, without their estimators."""
        total = None
        for part, found in zip(self.quantizers, quantized, strict=True):
            reconstruction = _masked(part._reconstruct(found.quantized), found.mask)
            total = reconstruction if total is None else total + reconstruction
        return total

    def decode(self, codes: Tensor, context: Tensor | None = None) -> Tensor:
        """Decodes codes to the sum of the vectors of all stages. -1 adds nothing."""
        del context
        codes = self._checked_codes(codes)
        axis = len(codes.shape) - len(self.code_shape)
        total = None
        for part, chosen in zip(self.quantizers, ops.unstack(codes, axis=axis), strict=True):
            quantized = part.decode(chosen, context=total)
            total = quantized if total is None else total + quantized
        return total

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Initializes the code vectors from data, stage by stage; see `VectorQuantizer.adapt`.

        A shared quantizer is initialized once, from the residuals of its first stage.
        """
        vectors = ops.convert_to_tensor(read_vectors(vectors, max(self.codebook_sizes), start))
        self._build_for(vectors.shape)
        placed: set[int] = set()
        for part in self.quantizers:
            if id(part) not in placed:
                part.adapt(vectors, start)
                placed.add(id(part))
            vectors = vectors - part(vectors, training=False, return_codes=True)[0]

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors of each stage; see `Quantizer.set_embeddings`.

        Args:
            embeddings: List with the embeddings of each distinct stage, for a `VectorQuantizer` an
                array of shape `(codebook_size, dim)`.
        """
        set_embeddings_of_parts(self.quantizers, embeddings)

    @property
    def _has_codes(self) -> bool:
        """True if `decode` of every stage has all that it needs."""
        return all(part._has_codes for part in self.quantizers)

    def _stages_kept(self, vectors: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Draws quantizer dropout and returns the mask of kept positions of each stage."""
        stages = len(self.quantizers)
        uniforms = keras.random.uniform((2, ops.shape(vectors)[0]), seed=self.seed_generator)
        first, second = uniforms[0], uniforms[1]
        some = ops.cast(ops.floor(first * stages), "int32") + 1
        count = ops.where(second < self.dropout, some, stages)
        shape = (-1,) + (1,) * (len(vectors.shape) - 2)
        everywhere = ops.ones_like(vectors[..., 0], dtype="bool") if mask is None else mask
        return [
            ops.logical_and(everywhere, ops.reshape(count > stage, shape))
            for stage in range(stages)
        ]


def _masked(vectors: Tensor, mask: Tensor | None) -> Tensor:
    """Sets vectors to zero where the mask is false."""
    return vectors if mask is None else ops.where(mask[..., None], vectors, 0.0)
