"""Codebook trained by gradient."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import Codebook, lerp
from keras_vq.codebooks.restart import RestartRule


@keras.saving.register_keras_serializable("keras_vq")
class GradientCodebook(Codebook):
    """Codebook trained by gradient with the codebook loss.

    The loss is the mean of |sg(x) - e|² over vectors x, their code vectors e, and dimensions, where
    sg is the stop-gradient operator (van den Oord et al., "Neural Discrete Representation
    Learning", 2017, equation 3, second term).

    State updated in training: `embeddings` (by the optimizer), `ema_counts`, and with a
    restart rule `restart_offset`.

    Args:
        codebook_size: Integer. Number of code vectors, K.
        decay: Float in [0, 1). Decay of the EMA of usage, which identifies dead codes. Defaults to
            0.99.
        restart: `RestartRule`, its snake_case name, or `None` to disable restarts. Defaults to
            `None`.
        initializer: Keras initializer of the code vectors, of shape `(K, dim)`; see `Codebook`.
            Defaults to `None`.
        regularizer: Keras regularizer of the code vectors, such as `regularizers.Orthogonality`.
            Defaults to `None`.
        codebook_loss_weight: Float, at least 0. Weight of the codebook loss. Defaults to 1.0.
        seed: Integer or `None`. Seed of k-means initialization and of `restart`. Defaults to
            `None`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(codebook=keras_vq.GradientCodebook(512))
    """

    codebook_loss_weight = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        codebook_size: int,
        decay: float = 0.99,
        restart: str | RestartRule | None = None,
        initializer: Any = None,
        regularizer: Any = None,
        codebook_loss_weight: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(codebook_size, decay, restart, initializer, seed, **kwargs)
        self.regularizer = keras.regularizers.get(regularizer)
        self.codebook_loss_weight = codebook_loss_weight

    def build(self, input_shape: Shape) -> None:
        """Creates the code vectors for inputs of shape `(..., dim)`."""
        super().build(input_shape)
        shape = (self.codebook_size, self.dim)
        self.embeddings = self._add_state("embeddings", shape, self.initializer, trainable=True)
        if self.restart is not None:
            # Code vectors are embeddings + restart_offset: a forward pass must not assign to a
            # weight of the optimizer, whose value replaces the assigned one on JAX.
            self.restart_offset = self._add_state("restart_offset", shape, "zeros")

    def code_vectors(self) -> Tensor:
        """Returns all code vectors: float32, shape `(codebook_size, dim)`."""
        embeddings = ops.convert_to_tensor(self.embeddings)
        return embeddings if self.restart is None else embeddings + self.restart_offset

    def _loss(self, vectors: Tensor, quantized: Tensor, mask: Tensor | None) -> Tensor:
        """Computes the scalar codebook loss, with the penalty of the regularizer."""
        loss = self.codebook_loss_weight * vq_ops.stop_gradient_mse(quantized, vectors, mask)
        return loss if self.regularizer is None else loss + self.regularizer(self.code_vectors())

    def _move_embeddings(self, shares: Tensor, targets: Tensor, counts: Tensor) -> None:
        """Interpolates each code vector and its count linearly towards a target."""
        recent_counts = self.recent_counts()
        self.ema_counts.assign(lerp(shares, recent_counts, counts))
        rows = shares[:, None]
        if self.restart is None:
            self.embeddings.assign(lerp(rows, self.code_vectors(), targets))
        else:
            offset = ops.convert_to_tensor(self.restart_offset)
            target_offset = targets - ops.convert_to_tensor(self.embeddings)
            self.restart_offset.assign(lerp(rows, offset, target_offset))

    def _place_embeddings(self, embeddings: Tensor) -> None:
        """Replaces all code vectors and sets their averages as for uniform usage."""
        super()._place_embeddings(embeddings)
        # Assigned directly, because embeddings plus an offset would be rounded.
        self.embeddings.assign(embeddings)
        if self.restart is not None:
            self.restart_offset.assign(ops.zeros_like(embeddings))
