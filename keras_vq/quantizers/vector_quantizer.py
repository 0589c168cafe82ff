"""Vector quantization (VQ) with a codebook, as in VQ-VAE."""

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

# Lower bound of the temperature, at which sampling returns the nearest code.
_LOWEST_TEMPERATURE = 1e-12


@keras.saving.register_keras_serializable("keras_vq")
class VectorQuantizer(Quantizer):
    """Vector quantization (VQ): replaces each vector by the nearest code vector of a codebook.

    k = argmin_k |x - e_k|², q = e_k. The added loss is β · mean |x - sg(q)|², plus the codebook
    loss if the codebook is trained by gradient. Both use the code vectors from before the update,
    or from after it with a `StepCodebook`.

    Source: van den Oord et al., "Neural Discrete Representation Learning", 2017.

    Training updates the codebook.

    Args:
        codebook: A codebook of `keras_vq.codebooks`; or an integer, the codebook size of an
            `EMACodebook` with dead-code restart.
        commitment: Float, at least 0. Weight β of the commitment loss; or another commitment loss
            of `keras_vq.losses`. Defaults to 0.25.
        estimator: Gradient estimator; see `Quantizer`. Defaults to `"straight_through"`.
        metric: `"euclidean"`, `"cosine"` or `"angle"`. `"cosine"` scales vectors and code vectors
            to unit norm for search, losses, updates and outputs (Yu et al., ViT-VQGAN, 2021).
            `"angle"` does so for the search only (Kumar et al., "High-Fidelity Audio Compression
            with Improved RVQGAN", DAC, 2023). Defaults to `"euclidean"`.
        temperature: Float, at least 0. Above 0, training draws the codes from
            softmax(-|x - e|² / temperature) (Lee et al., RQ-VAE, 2022, section 3.2.3). Defaults to
            0.0, for the nearest code vector.
        entropy: A `losses.CodeEntropy`, a float or `None`. A float is the weight of both entropy
            terms; 0 or `None` disables the entropy loss, which stores a score per vector and code.
            Defaults to `None`.
        seed: Integer. Seed of the random codes. Defaults to `None`.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Raises:
        ValueError: If an argument is out of its range, or the dimension of the inputs is not that
            of the code vectors.

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
        """Codebook size K, as a tuple with one entry."""
        return (self.codebook.codebook_size,)

    @property
    def learns_before_lookup(self) -> bool:
        """True if the codebook is updated before the lookup, as in a `StepCodebook`."""
        return self.codebook.learns_before_lookup

    def project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """Scales vectors to unit norm for the cosine metric, else returns them unchanged."""
        del training
        return vq_ops.unit_vectors(vectors) if self.metric == "cosine" else vectors

    def codes(self) -> Tensor:
        """Returns the code vectors, unit vectors for the cosine metric, float32 `(K, dim)`."""
        codes = self.codebook.codes()
        return vq_ops.unit_vectors(codes) if self.metric == "cosine" else codes

    def find_codes(
        self, latents: Tensor, training: bool = False, **context: Any
    ) -> tuple[Tensor, Tensor]:
        """Returns the nearest code vectors and their codes.

        In training with a temperature above 0, codes are drawn at random instead.
        """
        del context
        codes = self.codes()
        vectors, searched = self._searched(latents, codes)
        if training and self.draws_codes:
            uniforms = keras.random.uniform(ops.shape(vectors)[:-1], seed=self.seed_generator)
            # The temperature may be lowered to 0 during training.
            temperature = ops.maximum(self.temperature, _LOWEST_TEMPERATURE)
            indices = vq_ops.sample_code(vectors, searched, uniforms, temperature)
        else:
            indices = vq_ops.nearest_code(vectors, searched)
        return ops.take(codes, indices, axis=0), indices

    def nearest_codes(self, inputs: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Returns the `count` nearest code vectors of each vector and their codes, nearest first.

        Args:
            inputs: Float tensor of shape `(..., dim)`.
            count: Integer from 1 to K. Number of code vectors.

        Returns:
            A tuple of code vectors, float32 of shape `(..., count, dim)`, and codes, int32 of shape
            `(..., count)`.
        """
        latents = self.project_in(ops.cast(inputs, "float32"))
        codes = self.codes()
        vectors, searched = self._searched(latents, codes)
        indices = vq_ops.nearest_codes(vectors, searched, count)
        return ops.take(codes, indices, axis=0), indices

    def cross_entropy(
        self, inputs: Tensor, indices: Tensor, mask: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Computes the cross-entropy of softmax(-|x - e|² / temperature) with given codes, in nats.

        This loss trains an encoder to produce known codes. It has a gradient with respect to the
        inputs, and none with respect to the codebook.

        Args:
            inputs: Float tensor of shape `(..., dim)`.
            indices: Int32 tensor of target codes of shape `(...)`.
            mask: Boolean tensor of shape `(...)`, or `None`. Defaults to `None`.
            temperature: Float, above 0. Defaults to 1.0.

        Returns:
            Scalar float32 tensor: the mean over unmasked vectors.
        """
        latents = self.project_in(ops.cast(inputs, "float32"))
        loss = CrossEntropyCommitment(1.0, temperature)
        return loss(latents, None, ops.cast(indices, "int32"), self.codes, mask)

    def lookup(self, indices: Tensor) -> Tensor:
        """Looks up the code vectors of indices."""
        return ops.take(self.codes(), indices, axis=0)

    def commitment_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Computes the commitment loss plus the loss of the codebook."""
        commitment = self.commitment(latents, codes, indices, self.codes, mask)
        return commitment + self.codebook.loss(latents, codes, mask)

    def auxiliary_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor | float:
        """Computes the entropy loss, or returns 0 without one."""
        if self.entropy is None:
            return 0.0
        flat = ops.reshape(latents, (-1, self.dim))
        # Copied, because a codebook update overwrites the code vectors before the backward pass.
        return self.entropy(vq_ops.squared_distances(flat, ops.copy(self.codes())), mask)

    def statistics(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> CodeStatistics:
        """Computes the assignment statistics of a batch for the codebook update."""
        return self.codebook.statistics(latents, codes, indices, mask)

    def learn(self, statistics: CodeStatistics) -> None:
        """Updates the codebook from the statistics of a training batch."""
        self.codebook.update(statistics)

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Initializes the code vectors from data, before training; see `BaseCodebook.adapt`."""
        vectors = ops.convert_to_tensor(as_array("vectors", vectors), "float32")
        self.build_for(vectors.shape)
        self.codebook.adapt(self.project_in(vectors), start)

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors, before training; see `BaseCodebook.set_embeddings`.

        Args:
            embeddings: Array of shape `(codebook_size, dim)`, finite. Scaled to unit norm for the
                cosine metric.

        Raises:
            ValueError: If the array has another shape or is not finite, or if a layer given to a
                `ProjectedCodebook` computes its code vectors.
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
        """Returns the constructor arguments."""
        return {
            **super().get_config(),
            "codebook": keras.saving.serialize_keras_object(self.codebook),
            "commitment": keras.saving.serialize_keras_object(self.commitment),
            "metric": self.metric,
            "temperature": self.temperature,
            "entropy": keras.saving.serialize_keras_object(self.entropy),
            "seed": self.seed,
        }

    @property
    def _has_codes(self) -> bool:
        """True if the codebook is built, which may be shared with another quantizer."""
        return self.codebook.built

    def _searched(self, latents: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Returns vectors and code vectors as the search compares them, without gradient."""
        vectors, codes = ops.stop_gradient(latents), ops.stop_gradient(codes)
        if self.metric == "angle":
            return vq_ops.unit_vectors(vectors), vq_ops.unit_vectors(codes)
        return vectors, codes
