"""The entropy loss: each vector sure of its code, all codes in use."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Configurable, Hyperparameter
from keras_vq._types import Tensor


@keras.saving.register_keras_serializable("keras_vq")
class CodeEntropy(Configurable):
    """a · mean of H(p) - b · H(mean of p), for the distribution p of each vector over codes.

    The first term makes each vector sure of its code, the second makes codes serve evenly. p is
    the softmax of -|x - e|² / T over the codes e. Entropies are in nats.

    Sources: Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation"
    (MAGVIT-v2), 2023, equation 7; the second term alone is the diversity loss of wav2vec 2.0
    (Baevski et al., 2020).

    Args:
        certainty: a, weight of the first term, at least 0.
        diversity: b, weight of the second term, at least 0.
        temperature: T, above 0, in units of a squared distance.

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
        """The scalar loss.

        Args:
            squared_distances: Float32 tensor of shape `(..., codebook_size)`, up to a constant
                of each vector.
            mask: Boolean tensor of shape `(...)`; false leaves a vector out. None keeps all.
        """
        of_each, of_mean = self.entropies(squared_distances, mask)
        return self.certainty * of_each - self.diversity * of_mean

    def entropies(
        self, squared_distances: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The mean of the vectors' entropies, and the entropy of their mean distribution."""
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
        """The constructor's arguments."""
        return {
            "certainty": self.certainty,
            "diversity": self.diversity,
            "temperature": self.temperature,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "CodeEntropy":
        """The loss of a configuration."""
        return cls(**config)


def as_entropy(entropy: float | CodeEntropy | None) -> CodeEntropy | None:
    """An entropy loss from the weight of both its terms, the object itself, or none of 0."""
    if entropy is None or isinstance(entropy, CodeEntropy):
        return entropy
    weight = _validation.check_not_negative("entropy", entropy)
    return CodeEntropy(weight, weight) if weight > 0 else None


def _safe_log(probabilities: Tensor) -> Tensor:
    return ops.log(ops.where(probabilities > 0, probabilities, 1.0))
