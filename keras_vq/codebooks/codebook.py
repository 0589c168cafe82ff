"""Codebook trained by gradient."""

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
    """Codebook trained by gradient with the codebook loss.

    The loss is the mean of |sg(x) - e|² over vectors x, their code vectors e, and dimensions, where
    sg is the stop-gradient operator (van den Oord et al., "Neural Discrete Representation
    Learning", 2017, equation 3, second term).

    State updated in training: `embeddings` (by the optimizer), `average_counts`, and with a
    restart rule `restart_offset`.

    Args:
        codebook_size: Integer. Number of code vectors, K.
        decay: Float in [0, 1). Decay of the EMA of usage, which identifies dead codes. Defaults to
            0.99.
        restart: `RestartRule`, or `None` to disable restarts. Defaults to `None`.
        initializer: Keras initializer of the code vectors, of shape `(K, dim)`; see `BaseCodebook`.
            Defaults to `None`.
        regularizer: Keras regularizer of the code vectors, such as `regularizers.Orthogonality`.
            Defaults to `None`.
        weight: Float, at least 0. Weight of the codebook loss. Defaults to 1.0.
        seed: Integer or `None`. Seed of k-means initialization and of `restart`. Defaults to
            `None`.
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
        """Creates the code vectors for inputs of shape `(..., dim)`."""
        super().build(input_shape)
        shape = (self.codebook_size, self.dim)
        self.embeddings = self.add_state("embeddings", shape, self.initializer, trainable=True)
        if self.restart is not None:
            # Code vectors are embeddings + restart_offset: a forward pass must not assign to a
            # weight of the optimizer, whose value replaces the assigned one on JAX.
            self.restart_offset = self.add_state("restart_offset", shape, "zeros")

    def codes(self) -> Tensor:
        """Returns all code vectors: float32, shape `(codebook_size, dim)`."""
        codes = ops.convert_to_tensor(self.embeddings)
        return codes if self.restart is None else codes + self.restart_offset

    def loss(self, vectors: Tensor, codes: Tensor, mask: Tensor | None) -> Tensor:
        """Computes the scalar codebook loss, with the penalty of the regularizer."""
        loss = self.weight * vq_ops.error_to_fixed(codes, vectors, mask)
        return loss if self.regularizer is None else loss + self.regularizer(self.codes())

    def move_codes(self, shares: Tensor, targets: Tensor, counts: Tensor) -> None:
        """Interpolates each code vector and its count linearly towards a target."""
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
        """Replaces all code vectors and sets their averages as for uniform usage."""
        super().place_codes(codes)
        # Assigned directly, because embeddings plus an offset would be rounded.
        self.embeddings.assign(codes)
        if self.restart is not None:
            self.restart_offset.assign(ops.zeros_like(codes))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {
            **super().get_config(),
            "regularizer": keras.regularizers.serialize(self.regularizer),
            "weight": self.weight,
        }
