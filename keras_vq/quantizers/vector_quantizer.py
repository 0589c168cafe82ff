"""Vector quantization (VQ) with a codebook, as in VQ-VAE."""

from typing import Any, Literal, get_args

import keras
from keras import ops

from keras_vq import _validation, codebooks, losses
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import Codebook
from keras_vq.codebooks.batch_stats import CodeStatistics
from keras_vq.codebooks.ema_codebook import EMACodebook
from keras_vq.codebooks.kmeans import Start, read_vectors
from keras_vq.codebooks.restart import DeadCodeRestart
from keras_vq.estimators import Estimator
from keras_vq.losses.commitment import CrossEntropyCommitmentLoss
from keras_vq.losses.entropy import EntropyLoss, as_entropy
from keras_vq.quantizers.base import Assignment, Quantizer

Metric = Literal["euclidean", "cosine", "angle"]

# Lower bound of the temperature, at which sampling returns the nearest code.
_LOWEST_TEMPERATURE = 1e-12


@keras.saving.register_keras_serializable("keras_vq")
class VectorQuantizer(Quantizer):
    """Vector quantization (VQ): replaces each vector by the nearest code vector of a codebook.

    k = argmin_k |x - e_k|², q = e_k. The added loss is β · mean |x - sg(q)|², plus the codebook
    loss if the codebook is trained by gradient. Both use the code vectors from before the update,
    or from after it with an `SGDCodebook`.

    Source: van den Oord et al., "Neural Discrete Representation Learning", 2017.

    Training updates the codebook.

    Args:
        codebook_size: Integer. Number of code vectors, K. Required unless `codebook` is an object,
            which has its own size.
        codebook: Codebook of `keras_vq.codebooks`, or its snake_case name, such as
            `"gradient_codebook"`. Defaults to `None`, for an `EMACodebook` with dead-code restart.
        commitment_weight: Float, at least 0. Weight β of the commitment loss. Defaults to 0.25.
        commitment_loss: Commitment loss of `keras_vq.losses`, or its name. Defaults to
            `"commitment_loss"`, the mean squared error.
        estimator: Gradient estimator; see `Quantizer`. Defaults to `"straight_through"`.
        metric: `"euclidean"`, `"cosine"` or `"angle"`. `"cosine"` scales vectors and code vectors
            to unit norm for search, losses, updates and outputs (Yu et al., ViT-VQGAN, 2021).
            `"angle"` does so for the search only (Kumar et al., "High-Fidelity Audio Compression
            with Improved RVQGAN", DAC, 2023). Defaults to `"euclidean"`.
        temperature: Float, at least 0. Above 0, training draws the codes from
            softmax(-|x - e|² / temperature) (Lee et al., RQ-VAE, 2022, section 3.2.3). Defaults to
            0.0, for the nearest code vector.
        entropy_loss: `losses.EntropyLoss`, float or `None`. A float is the weight of both entropy
            terms; 0 or `None` disables the entropy loss, which stores a score per vector and code.
            Defaults to `None`.
        seed: Integer. Seed of the random codes, and of the codebook unless that is an object.
            Defaults to `None`.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Raises:
        ValueError: If an argument is out of its range, or the dimension of the inputs is not that
            of the code vectors.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(512)
        >>> quantized, codes = quantizer(np.zeros((2, 7, 7, 16), "float32"))
        >>> tuple(quantized.shape), tuple(codes.shape)
        ((2, 7, 7, 16), (2, 7, 7))
    """

    commitment_weight = Hyperparameter(_validation.check_not_negative)
    temperature = Hyperparameter(_validation.check_not_negative, zero_is_off=True)

    def __init__(
        self,
        codebook_size: int | None = None,
        *,
        codebook: str | Codebook | None = None,
        commitment_weight: float = 0.25,
        commitment_loss: Any = "commitment_loss",
        estimator: str | Estimator = "straight_through",
        metric: Metric = "euclidean",
        temperature: float = 0.0,
        entropy_loss: float | EntropyLoss | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(estimator, **kwargs)
        self.codebook = _codebook(codebook_size, codebook, seed)
        self.commitment_weight = commitment_weight
        self.commitment_loss = losses.get(commitment_loss)
        self.metric = _validation.check_choice("metric", metric, get_args(Metric))
        self.temperature = temperature
        self.entropy_loss = as_entropy(entropy_loss)
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
                f"The inputs must have {self.codebook.dim} channels, the dimension of the code "
                f"vectors. Received: inputs of shape {tuple(input_shape)}"
            )
        if self.metric == "cosine":
            self.codebook._scale_to_unit_norm()

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size K, as a tuple with one entry."""
        return (self.codebook.codebook_size,)

    @property
    def _updates_before_lookup(self) -> bool:
        """True if the codebook is updated before the lookup, as in an `SGDCodebook`."""
        return self.codebook._updates_before_lookup

    def _project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """Scales vectors to unit norm for the cosine metric, else returns them unchanged."""
        del training
        return vq_ops.unit_vectors(vectors) if self.metric == "cosine" else vectors

    def code_vectors(self) -> Tensor:
        """Returns the code vectors, unit vectors for the cosine metric, float32 `(K, dim)`."""
        embeddings = self.codebook.code_vectors()
        return vq_ops.unit_vectors(embeddings) if self.metric == "cosine" else embeddings

    def _search(self, latents: Tensor, training: bool = False, **context: Any) -> Assignment:
        """Finds the nearest code of each vector.

        In training with a temperature above 0, codes are drawn at random instead.
        """
        del context
        embeddings = ops.copy(self.code_vectors())
        vectors, searched = self._searched(latents, embeddings)
        if training and self.draws_codes:
            uniforms = keras.random.uniform(ops.shape(vectors)[:-1], seed=self.seed_generator)
            # The temperature may be lowered to 0 during training.
            temperature = ops.maximum(self.temperature, _LOWEST_TEMPERATURE)
            codes = vq_ops.sample_code(vectors, searched, uniforms, temperature)
        else:
            codes = vq_ops.nearest_code(vectors, searched)
        quantized = ops.take(embeddings, codes, axis=0)
        return Assignment(latents, quantized, codes, embeddings=embeddings)

    def nearest_codes(self, inputs: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Returns the `count` nearest code vectors of each vector and their codes, nearest first.

        Args:
            inputs: Float tensor of shape `(..., dim)`.
            count: Integer from 1 to K. Number of code vectors.

        Returns:
            A tuple of code vectors, float32 of shape `(..., count, dim)`, and codes, int32 of shape
            `(..., count)`.
        """
        latents = self._project_in(ops.cast(inputs, "float32"))
        embeddings = self.code_vectors()
        vectors, searched = self._searched(latents, embeddings)
        codes = vq_ops.nearest_codes(vectors, searched, count)
        return ops.take(embeddings, codes, axis=0), codes

    def cross_entropy(
        self, inputs: Tensor, codes: Tensor, mask: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Computes the cross-entropy of softmax(-|x - e|² / temperature) with given codes, in nats.

        This loss trains an encoder to produce known codes. It has a gradient with respect to the
        inputs, and none with respect to the codebook.

        Args:
            inputs: Float tensor of shape `(..., dim)`.
            codes: Int32 tensor of target codes of shape `(...)`.
            mask: Boolean tensor of shape `(...)`, or `None`. Defaults to `None`.
            temperature: Float, above 0. Defaults to 1.0.

        Returns:
            Scalar float32 tensor: the mean over unmasked vectors.
        """
        latents = self._project_in(ops.cast(inputs, "float32"))
        codes = ops.cast(codes, "int32")
        loss = CrossEntropyCommitmentLoss(temperature)
        return loss(latents, None, codes, self.code_vectors(), mask)

    def _lookup(self, codes: Tensor) -> Tensor:
        """Looks up the code vectors of codes."""
        return ops.take(self.code_vectors(), codes, axis=0)

    def _commitment_loss(self, assignment: Assignment) -> Tensor:
        """Computes the commitment loss plus the loss of the codebook."""
        latents, quantized, codes, mask, _ = assignment
        loss = self.commitment_loss(latents, quantized, codes, self._embeddings(assignment), mask)
        return self.commitment_weight * loss + self.codebook._loss(latents, quantized, mask)

    def _auxiliary_loss(self, assignment: Assignment) -> Tensor | float:
        """Computes the entropy loss, or returns 0 without one."""
        if self.entropy_loss is None:
            return 0.0
        flat = ops.reshape(assignment.latents, (-1, self.dim))
        # Copied, because a codebook update overwrites the code vectors before the backward pass.
        distances = vq_ops.squared_distances(flat, ops.copy(self._embeddings(assignment)))
        return self.entropy_loss(distances, assignment.mask)

    def _statistics(self, assignment: Assignment) -> CodeStatistics:
        """Computes the assignment statistics of a batch for the codebook update."""
        latents, quantized, codes, mask, _ = assignment
        return self.codebook._statistics(latents, quantized, codes, mask)

    def _update(self, statistics: CodeStatistics) -> None:
        """Updates the codebook from the statistics of a training batch."""
        self.codebook._update(statistics)

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Initializes the code vectors from data, before training; see `Codebook.adapt`."""
        vectors = ops.convert_to_tensor(read_vectors(vectors, self.codebook_size, start))
        self._build_for(vectors.shape)
        self.codebook.adapt(self._project_in(vectors), start)

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors, before training; see `Codebook.set_embeddings`.

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

    @property
    def _has_codes(self) -> bool:
        """True if the codebook is built, which may be shared with another quantizer."""
        return self.codebook.built

    def _embeddings(self, assignment: Assignment) -> Tensor:
        """Returns all code vectors, as read for the search if there was one."""
        searched = assignment.embeddings
        return self.code_vectors() if searched is None else searched

    def _searched(self, latents: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Returns vectors and code vectors as the search compares them, without gradient."""
        vectors, embeddings = ops.stop_gradient(latents), ops.stop_gradient(embeddings)
        if self.metric == "angle":
            return vq_ops.unit_vectors(vectors), vq_ops.unit_vectors(embeddings)
        return vectors, embeddings


def _codebook(
    codebook_size: int | None, codebook: str | Codebook | None, seed: int | None
) -> Codebook:
    """Returns the codebook that the arguments of a `VectorQuantizer` describe.

    Raises:
        ValueError: If a codebook object and a size are given, if neither is given, or if one of
            them is invalid.
    """
    if isinstance(codebook_size, Codebook):
        raise ValueError(
            "`codebook_size` must be an integer. Received: a codebook. Pass it as a keyword "
            f"argument: VectorQuantizer(codebook={type(codebook_size).__name__}(...))."
        )
    if isinstance(codebook, int):
        raise ValueError(
            f"`codebook` must be a codebook. Received: {codebook!r}. Pass the number of code "
            f"vectors as `codebook_size`: VectorQuantizer({codebook})."
        )
    if codebook_size is None and (codebook is None or isinstance(codebook, str)):
        raise ValueError(
            f"`codebook_size` must be an integer. Received: None, and codebook={codebook!r}. For "
            "example: VectorQuantizer(512), or VectorQuantizer(codebook=keras_vq.EMACodebook(512))."
        )
    if codebook is None:
        rule = DeadCodeRestart()
        return EMACodebook(codebook_size, restart=rule, seed=seed)  # type: ignore[arg-type]
    if isinstance(codebook, str):
        return codebooks.get(codebook, codebook_size=codebook_size, seed=seed)
    if codebook_size is not None:
        raise ValueError(
            "`codebook_size` must be None if `codebook` is an object, which has its own size. "
            f"Received: codebook_size={codebook_size!r}, codebook={codebook!r}"
        )
    return codebooks.get(codebook)
