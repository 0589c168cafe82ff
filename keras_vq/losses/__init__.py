"""Losses of vector quantizers and variational autoencoders."""

from keras_vq._registry import Registry
from keras_vq.losses.bernoulli import BernoulliNegativeLogLikelihood
from keras_vq.losses.commitment import CommitmentLoss, CrossEntropyCommitmentLoss
from keras_vq.losses.entropy import EntropyLoss

__all__ = [
    "BernoulliNegativeLogLikelihood",
    "CommitmentLoss",
    "CrossEntropyCommitmentLoss",
    "EntropyLoss",
    "deserialize",
    "get",
    "serialize",
]

_REGISTRY = Registry(
    "loss",
    (BernoulliNegativeLogLikelihood, CommitmentLoss, CrossEntropyCommitmentLoss, EntropyLoss),
)
get, serialize, deserialize = _REGISTRY.get, _REGISTRY.serialize, _REGISTRY.deserialize
