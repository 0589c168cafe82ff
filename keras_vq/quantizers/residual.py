"""Residual quantization: each level quantizes what the levels before it left."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._inputs import as_array
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import Start
from keras_vq.estimators import Estimator
from keras_vq.quantizers._parts import (
    checked_parts,
    deserialized,
    distinct,
    serialized,
    set_embeddings_of_parts,
)
from keras_vq.quantizers.base import Found, Quantizer, Updates
from keras_vq.quantizers.beam_search import beam_search


@keras.saving.register_keras_serializable("keras_vq")
class Residual(Quantizer):
    """Quantizes a vector in levels, as the sum of one code a level.

    r₀ = x; qᵢ = Qᵢ(rᵢ₋₁), rᵢ = rᵢ₋₁ - sg(qᵢ); the output is Σ qᵢ. Losses of the levels are added
    up, each taken on its own residual. Every level estimates gradients in its own way, through
    rᵢ = rᵢ₋₁ - qᵢ without the stop, so that the whole has the gradient of one: the identity with
    straight-through, whatever the number of levels (elsewhere it is as many times too large).

    Sources: Zeghidour et al., "SoundStream", 2021; Lee et al., "Autoregressive Image Generation
    using Residual Quantization" (RQ-VAE), 2022, for the shared codebook; Huijben et al.,
    "Residual Quantization with Implicit Neural Codebooks" (QINCo), 2024, for codes that depend
    on the levels before.

    Args:
        quantizers: List of the levels: any quantizers of vectors of the same dimension. One that
            stands in it several times is a shared codebook; it learns once a batch.
        dropout: Probability with which a training example is left with its first n levels only,
            n drawn evenly from 1 to all: so that fewer levels serve too. In [0, 1].
        beam: How many partial sums to keep in the search: 1 takes each level's nearest code,
            more find closer sums in `beam` times the time. It takes levels that can name their
            nearest codes (`VectorQuantizer`, `ConditionedVectorQuantizer`) and draw none.
        estimator: None, or one estimator for the sum in place of the levels' own. `Synchronized`
            belongs here: in the levels it would cancel but for the last one.
        seed: Seed of the dropout.
        **kwargs: `return_codes` and `keras.layers.Layer` arguments; see `Quantizer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, ..., dim)`.

    Returns:
        A pair: quantized vectors, and indices of shape `inputs.shape[:-1] + (levels,)`, -1 for
        levels dropped.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import numpy as np, keras_vq
        >>> levels = [keras_vq.VectorQuantizer(256) for _ in range(4)]
        >>> quantizer = keras_vq.Residual(levels)
        >>> quantized, indices = quantizer(np.zeros((2, 10, 16), "float32"))
        >>> tuple(indices.shape), quantizer.bits_per_vector
        ((2, 10, 4), 32.0)
    """

    dropout = Hyperparameter(_validation.check_probability, zero_is_off=True)

    def __init__(
        self,
        quantizers: Any,
        dropout: float = 0.0,
        beam: int = 1,
        estimator: str | Estimator | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__("straight_through" if estimator is None else estimator, **kwargs)
        self.has_own_estimator = estimator is not None
        self.quantizers = checked_parts(quantizers)
        self.dropout = dropout
        self.drops_levels = dropout > 0
        self.beam = _validation.check_positive_integer("beam", beam)
        if self.beam > 1 and not all(hasattr(part, "nearest_codes") for part in self.quantizers):
            raise ValueError(
                "`beam` above 1 needs levels that can name their nearest codes, as "
                f"VectorQuantizer does. Received: {[type(q).__name__ for q in self.quantizers]}"
            )
        if self.beam > 1 and any(getattr(part, "temperature", 0.0) for part in self.quantizers):
            raise ValueError(
                "`beam` above 1 looks for the closest sum, so no level may draw its codes. "
                "Received: levels with a temperature above 0"
            )
        self.seed = seed
        if self.drops_levels:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Shape) -> None:
        """Builds the levels for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        for part in distinct(self.quantizers):
            if not part.built:
                part.build(input_shape)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """The sizes of all levels."""
        return tuple(size for part in self.quantizers for size in part.codebook_sizes)

    @property
    def index_shape(self) -> tuple[int, ...]:
        """One index a level; after it the axes that a level's own index has."""
        return (len(self.quantizers), *self.quantizers[0].index_shape)

    def find(
        self,
        vectors: Tensor,
        mask: Tensor | None,
        training: bool,
        updates: Updates | None,
        indices: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Found:
        """Finds level after level."""
        del context
        updates = updates if self.trainable else None
        axis = len(vectors.shape) - 1
        if indices is None and self.beam > 1:
            indices = beam_search(self.quantizers, ops.stop_gradient(vectors), self.beam)
        given: list[Tensor | None] = [None] * len(self.quantizers)
        if indices is not None:
            given = ops.unstack(indices, axis=axis)
        kept = self._levels_kept(vectors, mask) if training and self.drops_levels else None

        has_context = any(part.takes_context for part in self.quantizers)
        residual, total = vectors, None
        levels: list[Found] = []
        for level, part in enumerate(self.quantizers):
            level_mask = mask if kept is None else kept[level]
            found = part.find(residual, level_mask, training, updates, given[level], total)
            levels.append(found)
            if len(levels) == len(self.quantizers):
                break  # nobody reads what is left, and it costs time where nothing is compiled
            quantized = ops.stop_gradient(part.reconstruct(found.codes))
            residual = residual - quantized
            if has_context:
                # Added up as `decode` does, so that a level finds its codes in the same context.
                total = quantized if total is None else total + quantized

        all_indices = [found.indices for found in levels]
        if kept is not None:
            all_indices = [
                part.mask_indices(chosen, kept[level])
                for level, (part, chosen) in enumerate(
                    zip(self.quantizers, all_indices, strict=True)
                )
            ]
        return Found(vectors, levels, ops.stack(all_indices, axis=axis), mask)

    def loss(self, found: Found) -> Tensor | float:
        """The sum of the levels' losses."""
        pairs = zip(self.quantizers, found.codes, strict=True)
        return sum((part.loss(level) for part, level in pairs), start=0.0)

    def estimate(self, latents: Tensor, codes: Any, training: bool = False) -> Tensor:
        """The sum of the levels' codes."""
        if self.has_own_estimator:
            return self.estimator(latents, self.reconstruct(codes), training=training)
        total = None
        residual = latents
        for level, (part, found) in enumerate(zip(self.quantizers, codes, strict=True)):
            # The first level's latents are at hand; the others' again, with their gradient.
            own = found.latents if level == 0 else part.project_in(residual, training=training)
            quantized = _masked(part.estimate(own, found.codes, training=training), found.mask)
            total = quantized if total is None else total + quantized
            if level + 1 < len(codes):
                residual = residual - quantized
        return total

    def reconstruct(self, codes: Any) -> Tensor:
        """The sum of the levels' codes, without estimators."""
        total = None
        for part, found in zip(self.quantizers, codes, strict=True):
            quantized = _masked(part.reconstruct(found.codes), found.mask)
            total = quantized if total is None else total + quantized
        return total

    def decode(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """The sum of the codes of indices; a level of -1 adds nothing."""
        del context
        indices = ops.convert_to_tensor(indices, dtype="int32")
        axis = len(indices.shape) - len(self.index_shape)
        total = None
        for part, chosen in zip(self.quantizers, ops.unstack(indices, axis=axis), strict=True):
            quantized = part.decode(chosen, context=total)
            total = quantized if total is None else total + quantized
        return total

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Places the codes by data, level after level; see `VectorQuantizer.adapt`.

        A shared quantizer is placed once, by the vectors of its first level.
        """
        vectors = ops.convert_to_tensor(as_array("vectors", vectors), "float32")
        if not self.built:
            self.build(vectors.shape)
        placed: set[int] = set()
        for part in self.quantizers:
            if id(part) not in placed:
                part.adapt(vectors, start)
                placed.add(id(part))
            vectors = vectors - part(vectors, training=False, return_codes=True)[0]

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors of each level; see `Quantizer.set_embeddings`.

        Args:
            embeddings: List of what each level takes, a `(codebook_size, dim)` array for a
                `VectorQuantizer`. A shared quantizer has one entry.
        """
        set_embeddings_of_parts(self.quantizers, embeddings)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        return {
            **config,
            "estimator": config["estimator"] if self.has_own_estimator else None,
            "quantizers": serialized(self.quantizers),
            "dropout": self.dropout,
            "beam": self.beam,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Residual":
        """The quantizer of a configuration."""
        estimator = keras.saving.deserialize_keras_object(config["estimator"])
        parts = deserialized(config["quantizers"])
        return cls(**{**config, "estimator": estimator, "quantizers": parts})

    def _levels_kept(self, vectors: Tensor, mask: Tensor | None) -> list[Tensor]:
        """For each level the mask of the positions that it serves."""
        levels = len(self.quantizers)
        uniforms = keras.random.uniform((2, ops.shape(vectors)[0]), seed=self.seed_generator)
        first, second = uniforms[0], uniforms[1]
        some = ops.cast(ops.floor(first * levels), "int32") + 1
        count = ops.where(second < self.dropout, some, levels)
        shape = (-1,) + (1,) * (len(vectors.shape) - 2)
        everywhere = ops.ones_like(vectors[..., 0], dtype="bool") if mask is None else mask
        return [
            ops.logical_and(everywhere, ops.reshape(count > level, shape))
            for level in range(levels)
        ]


def _masked(vectors: Tensor, mask: Tensor | None) -> Tensor:
    """The vectors, zero where the mask is false."""
    return vectors if mask is None else ops.where(mask[..., None], vectors, 0.0)
