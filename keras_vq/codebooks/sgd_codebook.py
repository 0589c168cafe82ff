"""Codebook updated by a closed-form gradient step before the lookup."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import Codebook, lerp
from keras_vq.codebooks.restart import RestartRule


@keras.saving.register_keras_serializable("keras_vq")
class SGDCodebook(Codebook):
    """Codebook updated by one closed-form SGD step per batch, before the lookup.

    The step is gradient descent on the mean of |x - e|² over vectors x, their code vectors e, and
    dimensions. In closed form it is e ← e - η · 2 / (N D) · (n e - m), where n vectors with the sum
    m are assigned to e, in a batch of N vectors of D dimensions. No optimizer is involved. Each
    batch is quantized with the code vectors updated by it, at the cost of a second search.

    Source: Huh et al., "Straightening Out the Straight-Through Estimator", 2023, section 4.2
    (alternated optimization).

    State updated in training: `embeddings`, `ema_counts`.

    Args:
        codebook_size: Integer. Number of code vectors, K.
        learning_rate: Float above 0. Step size η. A value of N D / (2 n) moves a code vector onto
            the mean of its n assigned vectors in one step; with uniform usage that is K D / 2.
        decay: Float in [0, 1). Decay of the EMA of usage, which identifies dead codes. Defaults to
            0.99.
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
        >>> codebook = keras_vq.SGDCodebook(512, learning_rate=100.0)
        >>> quantizer = keras_vq.VectorQuantizer(codebook=codebook)
    """

    _updates_before_lookup = True

    learning_rate = Hyperparameter(_validation.check_positive)

    def __init__(
        self,
        codebook_size: int,
        learning_rate: float,
        decay: float = 0.99,
        restart: str | RestartRule | None = None,
        initializer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(codebook_size, decay, restart, initializer, seed, **kwargs)
        self.learning_rate = learning_rate

    def build(self, input_shape: Shape) -> None:
        """Creates the code vectors for inputs of shape `(..., dim)`."""
        super().build(input_shape)
        shape = (self.codebook_size, self.dim)
        self.embeddings = self._add_state("embeddings", shape, self.initializer)

    def code_vectors(self) -> Tensor:
        """Returns all code vectors: float32, shape `(codebook_size, dim)`."""
        return ops.convert_to_tensor(self.embeddings)

    def _update_embeddings(self, counts: Tensor, sums: Tensor) -> None:
        """Updates the average counts and takes one gradient step."""
        super()._update_embeddings(counts, sums)
        embeddings = self.code_vectors()
        numbers = ops.maximum(ops.sum(counts), 1.0) * self.dim
        step = 2.0 / numbers * (counts[:, None] * embeddings - sums)
        self.embeddings.assign(embeddings - self.learning_rate * step)

    def _move_embeddings(self, shares: Tensor, targets: Tensor, counts: Tensor) -> None:
        """Interpolates each code vector and its count linearly towards a target."""
        self.ema_counts.assign(lerp(shares, self.recent_counts(), counts))
        self.embeddings.assign(lerp(shares[:, None], self.code_vectors(), targets))
