"""A codebook that learns by exponential moving averages."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import BaseCodebook, move_average, part_of_the_way
from keras_vq.codebooks.restart import RestartRule

# Above it float32 counts no further; the bias of averages that started empty is long gone.
_STEPS_WITHOUT_BIAS = 2.0**24


@keras.saving.register_keras_serializable("keras_vq")
class EMACodebook(BaseCodebook):
    """Codes that are the moving average of the vectors that choose them: no gradient, no loss.

    After each training batch, with n the moving average of the counts and m that of the sums,
    code e = m / ñ, where ñ = (n + ε) / (Σn + K ε) · Σn is the count with Laplace smoothing (van
    den Oord et al., "Neural Discrete Representation Learning", 2017, appendix A.1).

    State that changes in training: `embeddings`, `average_counts`, `average_sums`, and with bias
    correction `steps`.

    Args:
        codebook_size: Number of codes, K.
        decay: Decay of the moving averages, in [0, 1).
        epsilon: ε of the Laplace smoothing.
        bias_correction: False starts the averages at one vector a code, the code itself, so that
            a code no vector chooses stays where it is. True starts them at zero and divides by
            1 - decayᵗ, as Sonnet does: the initial codes have no weight, and a code not chosen
            in the first step becomes zero.
        restart: A `RestartRule`, or None to leave unused codes where they are.
        initializer: Keras initializer of the (K, dim) codes; see `BaseCodebook`.
        seed: Seed of the restarts.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(keras_vq.EMACodebook(512, decay=0.99))
    """

    epsilon = Hyperparameter(_validation.check_positive)

    def __init__(
        self,
        codebook_size: int,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        bias_correction: bool = False,
        restart: RestartRule | None = None,
        initializer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(codebook_size, decay, restart, initializer, seed, **kwargs)
        self.epsilon = epsilon
        self.bias_correction = bool(bias_correction)

    def build(self, input_shape: Shape) -> None:
        """Creates the codes for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        shape = (self.codebook_size, self.dim)
        self.embeddings = self.add_state("embeddings", shape, self.initializer)
        self.average_sums = self.add_state("average_sums", shape, "zeros")
        if self.bias_correction:
            self.steps = self.add_state("steps", (), "zeros")
            self.average_counts.assign(ops.zeros((self.codebook_size,)))
        if self.starts_placed:
            self.place_codes(self.codes())
        elif not self.bias_correction:
            # A copy: two weights on one buffer can not both be donated to a JAX step.
            self.average_sums.assign(ops.copy(self.embeddings))

    @property
    def starts_unused(self) -> bool:
        """Never: a code is the average of what it counts, at first of itself."""
        return False

    def codes(self) -> Tensor:
        """All codes, a float32 tensor of shape `(codebook_size, dim)`."""
        return ops.convert_to_tensor(self.embeddings)

    def update_codes(self, counts: Tensor, sums: Tensor) -> None:
        """Moves the averages towards a batch's statistics, and the codes with them."""
        if self.bias_correction:
            self.steps.assign(self.steps + 1.0)
        self.average_counts.assign(move_average(self.average_counts, counts, self.decay))
        self.average_sums.assign(move_average(self.average_sums, sums, self.decay))

        recent = self.recent_counts()
        total = ops.sum(recent)
        smoothed = (recent + self.epsilon) / (total + self.codebook_size * self.epsilon) * total
        codes = self.average_sums / self._averaged_weight() / smoothed[:, None]
        # Before any vector was counted (a batch masked altogether) the codes stay.
        self.embeddings.assign(ops.where(total > 0, codes, self.codes()))

    def recent_counts(self) -> Tensor:
        """How many vectors of a batch lately chose each code, float32 `(codebook_size,)`."""
        return ops.abs(self.average_counts) / self._averaged_weight()

    def move_codes(self, shares: Tensor, targets: Tensor, counts: Tensor) -> None:
        """Moves each code its share of the way to its target, its averages with it."""
        counts = counts * self._averaged_weight()
        rows = shares[:, None]
        average_counts = part_of_the_way(shares, self.average_counts, counts)
        average_sums = part_of_the_way(rows, self.average_sums, targets * counts[:, None])
        self.average_counts.assign(average_counts)
        self.average_sums.assign(average_sums)
        self.embeddings.assign(part_of_the_way(rows, self.codes(), targets))

    def place_codes(self, codes: Tensor) -> None:
        """Replaces all codes, and sets their averages as if all had been used alike."""
        if self.bias_correction:
            # The averages do not start empty: nothing is left to correct.
            self.steps.assign(ops.full((), _STEPS_WITHOUT_BIAS))
        super().place_codes(codes)

    def scale_averages(self, factors: Tensor) -> None:
        """Multiplies the moving averages of each code by its factor."""
        super().scale_averages(factors)
        self.average_sums.assign(self.average_sums * factors[:, None])

    def _averaged_weight(self) -> Tensor:
        """The weight that the batches seen so far have in the averages, which it normalises."""
        if not self.bias_correction:
            return ops.ones(())
        return 1.0 - ops.power(self.decay, ops.maximum(self.steps, 1.0))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "bias_correction": self.bias_correction,
        }
