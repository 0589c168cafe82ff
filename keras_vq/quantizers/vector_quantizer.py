"""The vector quantizer of VQ-VAE: each vector becomes its nearest code."""

from typing import Any, Literal, get_args

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._inputs import as_array
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import BaseCodebook, Start
from keras_vq.codebooks.ema_codebook import EMACodebook
from keras_vq.codebooks.restart import DeadCodeRestart
from keras_vq.codebooks.statistics import CodeStatistics
from keras_vq.estimators import Estimator
from keras_vq.losses.code_entropy import CodeEntropy, as_entropy
from keras_vq.losses.commitment import CrossEntropyCommitment, as_commitment
from keras_vq.quantizers.base import Quantizer

Metric = Literal["euclidean", "cosine", "angle"]

# In units of the squared distance: draws the nearest code.
_LOWEST_TEMPERATURE = 1e-12


@keras.saving.register_keras_serializable("keras_vq")
class VectorQuantizer(Quantizer):
    """Replaces each vector by the nearest code of a codebook.

    k = argmin_k |x - e_k|², q = e_k; the added loss is β · mean |x - sg(q)|², plus the
    codebook's own loss if it learns by gradient. Both are taken with the codes from before the
    update (with a `StepCodebook`, with those after it). Source: van den Oord et al., "Neural
    Discrete Representation Learning", 2017.

    State that changes in training: the codebook's.

    Args:
        codebook: A codebook of `keras_vq.codebooks`, or the number of codes: then an
            `EMACodebook` of that size that restarts dead codes.
        commitment: β, weight of the commitment loss, at least 0; or another commitment loss,
            see `keras_vq.losses`.
        estimator: How gradients pass to the inputs; see `Quantizer`.
        metric: `"euclidean"`; `"cosine"`, which scales vectors and codes to unit norm, compares,
            averages and returns those (Yu et al., ViT-VQGAN, 2021); or `"angle"`, which searches
            among them so but returns codes and takes losses in their own scale (Kumar et al.,
            "High-Fidelity Audio Compression with Improved RVQGAN", DAC, 2023).
        temperature: Above 0, codes are drawn in training, with probability
            softmax(-|x - e|² / temperature) (Lee et al., RQ-VAE, 2022, section 3.2.3).
        entropy: A `losses.CodeEntropy` to add, or a number, the weight of both its terms; 0 or
            None for none. It holds a score for every vector and code.
        seed: Seed of the draws.
        **kwargs: `return_codes` and `keras.layers.Layer` arguments; see `Quantizer`.

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

    temperature = Hyperparameter(_validation.check_not_negative, zero_is_off=True)

    def __init__(
        self,
        codebook: int | BaseCodebook,
        commitment: Any = 0.25,
        estimator: str | Estimator = "straight_through",
        metric: Metric = "euclidean",
        temperature: float = 0.0,
        entropy: float | CodeEntropy | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(estimator, **kwargs)
        if not isinstance(codebook, BaseCodebook):
            codebook = EMACodebook(codebook, restart=DeadCodeRestart())
        self.codebook = codebook
        self.commitment = as_commitment(commitment)
        self.metric = _validation.check_choice("metric", metric, get_args(Metric))
        self.temperature = temperature
        self.entropy = as_entropy(entropy)
        self.seed = seed
        self.draws_codes = temperature > 0
        if self.draws_codes:
            self.seed_generator = keras.random.SeedGenerator(seed)

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
        if self.metric == "cosine":
            self.codebook.scale_to_unit_norm()

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """The number of codes, K."""
        return (self.codebook.codebook_size,)

    @property
    def learns_before_lookup(self) -> bool:
        """Whether the codebook learns from a batch before it quantizes it."""
        return self.codebook.learns_before_lookup

    def project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """The vectors, scaled to unit norm if the metric is the cosine."""
        del training
        return vq_ops.unit_vectors(vectors) if self.metric == "cosine" else vectors

    def codes(self) -> Tensor:
        """All codes as vectors become them, a float32 tensor of shape `(K, dim)`."""
        codes = self.codebook.codes()
        return vq_ops.unit_vectors(codes) if self.metric == "cosine" else codes

    def find_codes(
        self, latents: Tensor, training: bool = False, **context: Any
    ) -> tuple[Tensor, Tensor]:
        """The nearest code of each vector, and its index."""
        del context
        codes = self.codes()
        vectors, searched = self._searched(latents, codes)
        if training and self.draws_codes:
            uniforms = keras.random.uniform(ops.shape(vectors)[:-1], seed=self.seed_generator)
            # Lowered to 0 it is the nearest code.
            temperature = ops.maximum(self.temperature, _LOWEST_TEMPERATURE)
            indices = vq_ops.sample_code(vectors, searched, uniforms, temperature)
        else:
            indices = vq_ops.nearest_code(vectors, searched)
        return ops.take(codes, indices, axis=0), indices

    def nearest_codes(self, inputs: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The `count` nearest codes of each vector, nearest first; changes no state.

        Args:
            inputs: Float tensor of shape `(..., dim)`.
            count: How many codes, from 1 to K.

        Returns:
            Codes, float32 of shape `(..., count, dim)`, and indices, int32 `(..., count)`.
        """
        latents = self.project_in(ops.cast(inputs, "float32"))
        codes = self.codes()
        vectors, searched = self._searched(latents, codes)
        indices = vq_ops.nearest_codes(vectors, searched, count)
        return ops.take(codes, indices, axis=0), indices

    def cross_entropy(
        self, inputs: Tensor, indices: Tensor, mask: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Mean cross-entropy, in nats, of softmax(-|x - e|² / temperature) with given codes.

        To train an encoder towards codes that are known. It has a gradient for the inputs.

        Args:
            inputs: Float tensor of shape `(..., dim)`.
            indices: Int32 tensor of shape `(...)`: the code that each vector should have.
            mask: Boolean tensor of shape `(...)`, or None.
            temperature: Above 0.

        Returns:
            Scalar float32 tensor.
        """
        latents = self.project_in(ops.cast(inputs, "float32"))
        loss = CrossEntropyCommitment(1.0, temperature)
        return loss(latents, None, ops.cast(indices, "int32"), self.codes, mask)

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes of indices."""
        return ops.take(self.codes(), indices, axis=0)

    def commitment_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Commitment loss, plus the codebook's own."""
        commitment = self.commitment(latents, codes, indices, self.codes, mask)
        return commitment + self.codebook.loss(latents, codes, mask)

    def auxiliary_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor | float:
        """The entropy loss, if there is one."""
        if self.entropy is None:
            return 0.0
        flat = ops.reshape(latents, (-1, self.dim))
        # A copy: codes that learn by statistics are written to before the gradient is taken.
        return self.entropy(vq_ops.squared_distances(flat, ops.copy(self.codes())), mask)

    def statistics(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> CodeStatistics:
        """What the batch tells the codebook."""
        return self.codebook.statistics(latents, codes, indices, mask)

    def learn(self, statistics: CodeStatistics) -> None:
        """Hands the codebook the batch's statistics."""
        self.codebook.update(statistics)

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Places the codes by data, before training; see `BaseCodebook.adapt`."""
        vectors = ops.convert_to_tensor(as_array("vectors", vectors), "float32")
        if not self.built:
            self.build(vectors.shape)
        self.codebook.adapt(self.project_in(vectors), start)

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors, before training; see `BaseCodebook.set_embeddings`.

        Args:
            embeddings: Array of shape `(codebook_size, dim)`, finite. With the cosine metric it
                is scaled to unit norm.

        Raises:
            ValueError: If the array has another shape, or is not finite; or if the codes of a
                `ProjectedCodebook` are made by a layer that was given.
        """
        embeddings = _validation.check_embeddings(
            ops.convert_to_numpy(embeddings),
            self.codebook.codebook_size,
            self.dim if self.built else None,
        )
        if not self.built:
            self.build((None, embeddings.shape[1]))
        if self.metric == "cosine":
            embeddings = vq_ops.unit_vectors(embeddings)
        self.codebook.set_embeddings(embeddings)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "codebook": keras.saving.serialize_keras_object(self.codebook),
            "commitment": keras.saving.serialize_keras_object(self.commitment),
            "metric": self.metric,
            "temperature": self.temperature,
            "entropy": keras.saving.serialize_keras_object(self.entropy),
            "seed": self.seed,
        }

    def _searched(self, latents: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors and codes as the search compares them, without gradient."""
        vectors, codes = ops.stop_gradient(latents), ops.stop_gradient(codes)
        if self.metric == "angle":
            return vq_ops.unit_vectors(vectors), vq_ops.unit_vectors(codes)
        return vectors, codes
