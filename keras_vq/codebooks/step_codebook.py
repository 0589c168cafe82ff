"""A codebook that takes its own gradient step, before the batch is quantized."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import BaseCodebook, part_of_the_way
from keras_vq.codebooks.restart import RestartRule


@keras.saving.register_keras_serializable("keras_vq")
class StepCodebook(BaseCodebook):
    """Codes that take a step of gradient descent on each batch, which they quantize after it.

    The step is that of plain gradient descent on the mean of |x - e|², in closed form from the
    counts n and sums m of the batch: e ← e - η · 2 / (N D) · (n e - m), for N vectors of D
    dimensions. No optimizer is involved, and codes are never a step behind their vectors; it
    costs a second search.

    Source: Huh et al., "Straightening Out the Straight-Through Estimator", 2023, section 4.2
    (alternated optimization).

    State that changes in training: `embeddings`, `average_counts`.

    Args:
        codebook_size: Number of codes, K.
        learning_rate: η, above 0. N D / (2 n) would move a code that n vectors chose onto their
            mean at once; with evenly used codes that is K D / 2.
        decay: Decay of the usage average, by which dead codes are told, in [0, 1).
        restart: A `RestartRule`, or None to leave unused codes where they are.
        initializer: Keras initializer of the (K, dim) codes; see `BaseCodebook`.
        seed: Seed of the restarts.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(keras_vq.StepCodebook(512, learning_rate=100.0))
    """

    learns_before_lookup = True

    learning_rate = Hyperparameter(_validation.check_positive)

    def __init__(
        self,
        codebook_size: int,
        learning_rate: float,
        decay: float = 0.99,
        restart: RestartRule | None = None,
        initializer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(codebook_size, decay, restart, initializer, seed, **kwargs)
        self.learning_rate = learning_rate

    def build(self, input_shape: Shape) -> None:
        """Creates the codes for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        shape = (self.codebook_size, self.dim)
        self.embeddings = self.add_state("embeddings", shape, self.initializer)

    def codes(self) -> Tensor:
        """All codes, a float32 tensor of shape `(codebook_size, dim)`."""
        return ops.convert_to_tensor(self.embeddings)

    def update_codes(self, counts: Tensor, sums: Tensor) -> None:
        """Takes the step."""
        super().update_codes(counts, sums)
        codes = self.codes()
        numbers = ops.maximum(ops.sum(counts), 1.0) * self.dim
        step = 2.0 / numbers * (counts[:, None] * codes - sums)
        self.embeddings.assign(codes - self.learning_rate * step)

    def move_codes(self, shares: Tensor, targets: Tensor, counts: Tensor) -> None:
        """Moves each code its share of the way to its target."""
        self.average_counts.assign(part_of_the_way(shares, self.recent_counts(), counts))
        self.embeddings.assign(part_of_the_way(shares[:, None], self.codes(), targets))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "learning_rate": self.learning_rate}
