"""Codebook updated by exponential moving averages (EMA)."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import Codebook, lerp, move_average
from keras_vq.codebooks.restart import RestartRule

# Largest step count of float32, at which the bias correction has vanished.
_STEPS_WITHOUT_BIAS = 2.0**24


@keras.saving.register_keras_serializable("keras_vq")
class EMACodebook(Codebook):
    """Codebook updated by exponential moving averages (EMA), without gradient or codebook loss.

    Each code vector is the EMA of the vectors assigned to it. After each training batch it is
    e = m / ñ, with m the EMA of the sums of assigned vectors, n the EMA of their counts, and
    ñ = (n + ε) / (Σn + K ε) · Σn the count after Laplace smoothing (van den Oord et al., "Neural
    Discrete Representation Learning", 2017, appendix A.1).

    State updated in training: `embeddings`, `ema_counts`, `ema_sums`, and with bias
    correction `steps`.

    Args:
        codebook_size: Integer. Number of code vectors, K.
        decay: Float in [0, 1). Decay of the moving averages. Defaults to 0.99.
        epsilon: Float above 0. ε of the Laplace smoothing. Defaults to 1e-5.
        bias_correction: Boolean. `False` initializes the averages with one vector per code,
            the code vector itself: an unused code vector keeps its value while its average count is
            far above `epsilon`. `True` initializes them with zero and divides by 1 - decayᵗ at step
            t, as Sonnet does: initial code vectors have no weight, and the code vector of a code
            unused in the first step becomes zero. Defaults to `False`.
        restart: `RestartRule`, its snake_case name, or `None` to disable restarts. Defaults to
            `None`.
        initializer: Keras initializer of the code vectors, of shape `(K, dim)`; see `Codebook`.
            Defaults to `None`.
        seed: Integer or `None`. Seed of k-means initialization and of `restart`. Defaults to
            `None`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(codebook=keras_vq.EMACodebook(512, decay=0.99))
    """

    epsilon = Hyperparameter(_validation.check_positive)

    def __init__(
        self,
        codebook_size: int,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        bias_correction: bool = False,
        restart: str | RestartRule | None = None,
        initializer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(codebook_size, decay, restart, initializer, seed, **kwargs)
        self.epsilon = epsilon
        self.bias_correction = bool(bias_correction)

    def build(self, input_shape: Shape) -> None:
        """Creates the code vectors for inputs of shape `(..., dim)`."""
        super().build(input_shape)
        shape = (self.codebook_size, self.dim)
        self.embeddings = self._add_state("embeddings", shape, self.initializer)
        self.ema_sums = self._add_state("ema_sums", shape, "zeros")
        if self.bias_correction:
            self.steps = self._add_state("steps", (), "zeros")
            self.ema_counts.assign(ops.zeros((self.codebook_size,)))
        if self._is_initialized:
            self._place_embeddings(self.code_vectors())
        elif not self.bias_correction:
            # A copy, because JAX cannot donate one buffer for two weights.
            self.ema_sums.assign(ops.copy(self.embeddings))

    @property
    def _starts_unused(self) -> bool:
        """Returns `False`: code vectors are computed from the averages."""
        return False

    def code_vectors(self) -> Tensor:
        """Returns all code vectors: float32, shape `(codebook_size, dim)`."""
        return ops.convert_to_tensor(self.embeddings)

    def _update_embeddings(self, counts: Tensor, sums: Tensor) -> None:
        """Updates the averages with batch statistics, and computes the code vectors from them."""
        if self.bias_correction:
            self.steps.assign(self.steps + 1.0)
        self.ema_counts.assign(move_average(self.ema_counts, counts, self.decay))
        self.ema_sums.assign(move_average(self.ema_sums, sums, self.decay))

        recent = self.recent_counts()
        total = ops.sum(recent)
        smoothed = (recent + self.epsilon) / (total + self.codebook_size * self.epsilon) * total
        embeddings = self.ema_sums / self._averaged_weight() / smoothed[:, None]
        # Keeps the code vectors while all counts are 0, as after a fully masked first batch.
        self.embeddings.assign(ops.where(total > 0, embeddings, self.code_vectors()))

    def recent_counts(self) -> Tensor:
        """Returns the EMA of assigned vectors per batch: float32, shape `(codebook_size,)`."""
        return ops.abs(self.ema_counts) / self._averaged_weight()

    def _move_embeddings(self, shares: Tensor, targets: Tensor, counts: Tensor) -> None:
        """Interpolates each code vector and its averages linearly towards a target."""
        counts = counts * self._averaged_weight()
        rows = shares[:, None]
        ema_counts = lerp(shares, self.ema_counts, counts)
        ema_sums = lerp(rows, self.ema_sums, targets * counts[:, None])
        self.ema_counts.assign(ema_counts)
        self.ema_sums.assign(ema_sums)
        self.embeddings.assign(lerp(rows, self.code_vectors(), targets))

    def _place_embeddings(self, embeddings: Tensor) -> None:
        """Replaces all code vectors and sets their averages as for uniform usage."""
        if self.bias_correction:
            # Averages that do not start at zero need no bias correction.
            self.steps.assign(ops.full((), _STEPS_WITHOUT_BIAS))
        super()._place_embeddings(embeddings)

    def _scale_averages(self, factors: Tensor) -> None:
        """Multiplies the moving averages of each code by a factor."""
        super()._scale_averages(factors)
        self.ema_sums.assign(self.ema_sums * factors[:, None])

    def _averaged_weight(self) -> Tensor:
        """Returns the bias-correction factor `1 - decay**steps`, or 1 without bias correction."""
        if not self.bias_correction:
            return ops.ones(())
        return 1.0 - ops.power(self.decay, ops.maximum(self.steps, 1.0))
