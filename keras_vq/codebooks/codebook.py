"""A codebook that learns by gradient."""

import keras
from keras import ops

from keras_vq import ops as vq_ops
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import BaseCodebook


@keras.saving.register_keras_serializable("keras_vq")
class Codebook(BaseCodebook):
    """Codes that the optimizer moves by the gradient of the codebook loss.

    The loss is the mean of |sg(x) - e|² over vectors x and their codes e, and over dimensions
    (van den Oord et al., "Neural Discrete Representation Learning", 2017, equation 3, second
    term). See `BaseCodebook` for the arguments; `decay` is that of the usage average, by which
    dead codes are told.

    State that changes in training: `embeddings` (by the optimizer), `average_counts`, and with
    a restart rule `restart_offset`.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(keras_vq.Codebook(512))
    """

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
        """Mean squared distance from each code to the vectors that chose it."""
        distance = ops.mean(ops.square(codes - ops.stop_gradient(vectors)), axis=-1)
        return vq_ops.masked_mean(distance, mask)

    def place_codes(self, is_placed: Tensor, codes: Tensor, count: Tensor) -> None:
        """Puts some codes elsewhere."""
        self.average_counts.assign(ops.where(is_placed, count, self.recent_counts()))
        if self.restart is None:
            embeddings = ops.convert_to_tensor(self.embeddings)
            self.embeddings.assign(ops.where(is_placed[:, None], codes, embeddings))
        else:
            offset = ops.convert_to_tensor(self.restart_offset)
            self.restart_offset.assign(
                ops.where(is_placed[:, None], codes - self.embeddings, offset)
            )
