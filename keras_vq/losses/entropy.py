"""Entropy loss: confident code assignments and uniform codebook usage."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._configurable import Configurable
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Tensor


@keras.saving.register_keras_serializable("keras_vq")
class EntropyLoss(Configurable):
    """Entropy loss for confident code assignments and uniform codebook usage.

    The loss is a · mean of H(p) - b · H(mean of p), where p is the softmax of -|x - e|² / T over
    the code vectors e for each vector x, and H is the entropy in nats. The first term makes each
    assignment confident; the second, which is subtracted, makes codebook usage uniform.

    Sources: Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation"
    (MAGVIT-v2), 2023, equation 7; the second term alone is the diversity loss of wav2vec 2.0
    (Baevski et al., 2020).

    Args:
        per_sample_weight: Float, at least 0. Weight a of the first term. Defaults to 0.1.
        batch_weight: Float, at least 0. Weight b of the second term. Defaults to 0.1.
        temperature: Float above 0. Temperature T, in units of a squared distance. Defaults to 0.01.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> loss = keras_vq.losses.EntropyLoss(per_sample_weight=0.0, temperature=1.0)
        >>> quantizer = keras_vq.VectorQuantizer(512, entropy_loss=loss)
    """

    per_sample_weight = Hyperparameter(_validation.check_not_negative)
    batch_weight = Hyperparameter(_validation.check_not_negative)
    temperature = Hyperparameter(_validation.check_positive)

    def __init__(
        self, per_sample_weight: float = 0.1, batch_weight: float = 0.1, temperature: float = 0.01
    ) -> None:
        self.per_sample_weight = per_sample_weight
        self.batch_weight = batch_weight
        self.temperature = temperature

    def __call__(self, squared_distances: Tensor, mask: Tensor | None = None) -> Tensor:
        """Computes the scalar loss.

        Args:
            squared_distances: Float32 tensor of shape `(..., codebook_size)`. Squared distances
                from each vector to all code vectors, up to a constant per vector.
            mask: Boolean tensor of shape `(...)`. `False` excludes a vector; `None` keeps all.
        """
        of_each, of_mean = self.entropies(squared_distances, mask)
        return self.per_sample_weight * of_each - self.batch_weight * of_mean

    def entropies(
        self, squared_distances: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Computes the mean entropy of all vectors, and the entropy of their mean distribution."""
        logits = -squared_distances / self.temperature
        size = logits.shape[-1]
        logits = ops.reshape(logits, (-1, size))
        log_p = ops.log_softmax(logits, axis=-1)
        p = ops.exp(log_p)
        mask = None if mask is None else ops.reshape(mask, (-1,))
        of_each = vq_ops.masked_mean(-ops.sum(p * log_p, axis=-1), mask)
        if mask is None:
            mean = vq_ops.mean_or_zero(p, axis=0)
        else:
            kept = ops.cast(mask, "float32")
            mean = ops.sum(p * kept[:, None], axis=0) / ops.maximum(ops.sum(kept), 1.0)
        return of_each, -ops.sum(ops.where(mean > 0, mean * _safe_log(mean), 0.0))


def as_entropy(entropy: Any) -> EntropyLoss | None:
    """Returns the entropy loss of an argument `entropy_loss`.

    Args:
        entropy: `EntropyLoss`, the name `"entropy_loss"`, `None`, or a float: the weight of both
            terms; 0 disables the loss.
    """
    if entropy is None or isinstance(entropy, EntropyLoss):
        return entropy
    if entropy == "entropy_loss":
        return EntropyLoss()
    weight = _validation.check_not_negative("entropy_loss", entropy)
    return EntropyLoss(weight, weight) if weight > 0 else None


def _safe_log(probabilities: Tensor) -> Tensor:
    return ops.log(ops.where(probabilities > 0, probabilities, 1.0))
