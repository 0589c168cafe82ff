"""Commitment losses, which keep latents close to their code vectors."""

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._configurable import Configurable
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Tensor


@keras.saving.register_keras_serializable("keras_vq")
class CommitmentLoss(Configurable):
    """Commitment loss: mean of |x - sg(q)|² over latents x, their code vectors q, and dimensions.

    sg is the stop-gradient operator. The weight β is the argument `commitment_weight` of the
    quantizer.

    Source: van den Oord et al., "Neural Discrete Representation Learning", 2017, equation 3,
    third term.

    Example:
        >>> import keras_vq
        >>> loss = keras_vq.losses.CommitmentLoss()
        >>> quantizer = keras_vq.VectorQuantizer(512, commitment_loss=loss)
    """

    def __call__(
        self,
        latents: Tensor,
        quantized: Tensor,
        codes: Tensor,
        embeddings: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Computes the scalar loss.

        Args:
            latents: Float32 tensor of shape `(..., dim)`.
            quantized: Float32 tensor of the same shape. Code vector of each latent vector.
            codes: Int32 tensor of shape `(...)`.
            embeddings: Float32 tensor of shape `(codebook_size, dim)`. All code vectors.
            mask: Boolean tensor of shape `(...)`. `False` excludes a vector; `None` keeps all.
        """
        del codes, embeddings
        return vq_ops.stop_gradient_mse(latents, quantized, mask)


@keras.saving.register_keras_serializable("keras_vq")
class CrossEntropyCommitmentLoss(Configurable):
    """Cross-entropy commitment loss: mean of -log softmax(-|x - e|² / T) at the assigned code.

    The squared commitment loss pulls a vector x to its code vector; this loss also pushes it away
    from the other code vectors e. It stores a score for each pair of vector and code. The weight is
    the argument `commitment_weight` of the quantizer.

    Args:
        temperature: Float above 0. Temperature T, in units of a squared distance. Defaults to 1.0.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(
        ...     512, commitment_weight=0.1, commitment_loss="cross_entropy_commitment_loss"
        ... )
    """

    temperature = Hyperparameter(_validation.check_positive)

    def __init__(self, temperature: float = 1.0) -> None:
        self.temperature = temperature

    def __call__(
        self,
        latents: Tensor,
        quantized: Tensor,
        codes: Tensor,
        embeddings: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Computes the scalar loss; see `CommitmentLoss` for the arguments."""
        del quantized
        # A copy, because updates from statistics overwrite code vectors before the backward pass.
        fixed = ops.copy(ops.stop_gradient(embeddings))
        distances = vq_ops.squared_distances(ops.reshape(latents, (-1, fixed.shape[1])), fixed)
        log_p = ops.log_softmax(-distances / self.temperature, axis=-1)
        flat = ops.reshape(codes, (-1, 1))
        chosen = ops.take_along_axis(log_p, flat, axis=1)[:, 0]
        mask = None if mask is None else ops.reshape(mask, (-1,))
        return -vq_ops.masked_mean(chosen, mask)
