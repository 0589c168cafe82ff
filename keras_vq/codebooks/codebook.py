"""A codebook that learns by gradient."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import BaseCodebook, part_of_the_way
from keras_vq.codebooks.restart import RestartRule


@keras.saving.register_keras_serializable("keras_vq")
class Codebook(BaseCodebook):
    """Codes that the optimizer moves by the gradient of the codebook loss.

    The loss is the mean of |sg(x) - e|² over vectors x and their codes e, and over dimensions
    (van den Oord et al., "Neural Discrete Representation Learning", 2017, equation 3, second
    term).

    State that changes in training: `embeddings` (by the optimizer), `average_counts`, and with
    a restart rule `restart_offset`.

    Args:
        codebook_size: Number of codes, K.
        decay: Decay of the usage average, by which dead codes are told, in [0, 1).
        restart: A `RestartRule`, or None to leave unused codes where they are.
        initializer: Keras initializer of the (K, dim) codes; see `BaseCodebook`.
        regularizer: Keras regularizer of the codes, such as `regularizers.Orthogonality`.
        weight: Weight of the codebook loss, at least 0.
        seed: Seed of the restarts.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(keras_vq.Codebook(512))
    """

    weight = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        codebook_size: int,
        decay: float = 0.99,
        restart: RestartRule | None = None,
        initializer: Any = None,
        regularizer: Any = None,
        weight: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(codebook_size, decay, restart, initializer, seed, **kwargs)
        self.regularizer = keras.regularizers.get(regularizer)
        self.weight = weight

    def build(self, input_shape: Shape) -> None:
        """Creates the codes for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        shape = (self.codebook_size, self.dim)
        self.embeddings = self.add_state("embeddings", shape, self.initializer, trainable=True)
        if self.restart is not None:
            # Codes are embeddings + restart_offset: a forward pass can't write to what the
            # optimizer writes to (JAX returns one new value for it, the optimizer's).
            self.restart_offset = self.add_state("restart_offset", shape, "zeros")

    def codes(self) -> Tensor:
        """All codes, a float32 tensor of shape `(codebook_size, dim)`."""
        codes = ops.convert_to_tensor(self.embeddings)
        return codes if self.restart is None else codes + self.restart_offset

    def loss(self, vectors: Tensor, codes: Tensor, mask: Tensor | None) -> Tensor:
        """Mean squared distance from each code to the vectors that chose it, and the penalty."""
        loss = self.weight * vq_ops.error_to_fixed(codes, vectors, mask)
        return loss if self.regularizer is None else loss + self.regularizer(self.codes())

    def move_codes(self, shares: Tensor, targets: Tensor, counts: Tensor) -> None:
        """Moves each code its share of the way to its target."""
        recent_counts = self.recent_counts()
        self.average_counts.assign(part_of_the_way(shares, recent_counts, counts))
        rows = shares[:, None]
        if self.restart is None:
            self.embeddings.assign(part_of_the_way(rows, self.codes(), targets))
        else:
            offset = ops.convert_to_tensor(self.restart_offset)
            target_offset = targets - ops.convert_to_tensor(self.embeddings)
            self.restart_offset.assign(part_of_the_way(rows, offset, target_offset))

    def place_codes(self, codes: Tensor) -> None:
        """Replaces all codes, and sets their averages as if all had been used alike."""
        super().place_codes(codes)
        # Exactly: the sum of embeddings and an offset would be rounded.
        self.embeddings.assign(codes)
        if self.restart is not None:
            self.restart_offset.assign(ops.zeros_like(codes))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "regularizer": keras.regularizers.serialize(self.regularizer),
            "weight": self.weight,
        }
