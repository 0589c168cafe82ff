"""Entropy loss: confident code assignments and uniform codebook usage."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Configurable, Hyperparameter
from keras_vq._types import Tensor


@keras.saving.register_keras_serializable("keras_vq")
class CodeEntropy(Configurable):
    """Entropy loss for confident code assignments and uniform codebook usage.

    The loss is a · mean of H(p) - b · H(mean of p), where p is the softmax of -|x - e|² / T over
    the code vectors e for each vector x, and H is the entropy in nats. The first term
    makes each assignment confident; the second, which is subtracted, makes codebook usage uniform.

    Sources: Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation"
    (MAGVIT-v2), 2023, equation 7; the second term alone is the diversity loss of wav2vec 2.0
    (Baevski et al., 2020).

    Args:
        certainty: Float, at least 0. Weight a of the first term. Defaults to 0.1.
        diversity: Float, at least 0. Weight b of the second term. Defaults to 0.1.
        temperature: Float above 0. Temperature T, in units of a squared distance. Defaults to 0.01.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> entropy = keras_vq.losses.CodeEntropy(certainty=0.0, diversity=0.1, temperature=1.0)
        >>> quantizer = keras_vq.VectorQuantizer(keras_vq.Codebook(512), entropy=entropy)
    """

    certainty = Hyperparameter(_validation.check_not_negative)
    diversity = Hyperparameter(_validation.check_not_negative)
    temperature = Hyperparameter(_validation.check_positive)

    def __init__(
        self, certainty: float = 0.1, diversity: float = 0.1, temperature: float = 0.01
    ) -> None:
        self.certainty = certainty
        self.diversity = diversity
        self.temperature = temperature

    def __call__(self, squared_distances: Tensor, mask: Tensor | None = None) -> Tensor:
        """Computes the scalar loss.

        Args:
            squared_distances: Float32 tensor of shape `(..., codebook_size)`. Squared distances
                from each vector to all code vectors, up to a constant per vector.
            mask: Boolean tensor of shape `(...)`. `False` excludes a vector; `None` keeps all.
        """
        of_each, of_mean = self.entropies(squared_distances, mask)
        return self.certainty * of_each - self.diversity * of_mean

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

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {
            "certainty": self.certainty,
            "diversity": self.diversity,
            "temperature": self.temperature,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "CodeEntropy":
        """Creates a loss from its configuration."""
        return cls(**config)


def as_entropy(entropy: float | CodeEntropy | None) -> CodeEntropy | None:
    """Converts a number to `CodeEntropy(number, number)`, and 0 to `None`; keeps other values."""
    if entropy is None or isinstance(entropy, CodeEntropy):
        return entropy
    weight = _validation.check_not_negative("entropy", entropy)
    return CodeEntropy(weight, weight) if weight > 0 else None


def _safe_log(probabilities: Tensor) -> Tensor:
    return ops.log(ops.where(probabilities > 0, probabilities, 1.0))
