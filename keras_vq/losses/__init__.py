"""Losses of vector quantizers, variational autoencoders and adversarial training."""

from keras_vq._registry import Registry
from keras_vq.losses.adversarial import (
    AdversarialLoss,
    HingeAdversarialLoss,
    NonSaturatingAdversarialLoss,
)
from keras_vq.losses.commitment import CommitmentLoss, CrossEntropyCommitmentLoss
from keras_vq.losses.entropy import EntropyLoss
from keras_vq.losses.likelihoods import (
    BernoulliNegativeLogLikelihood,
    CategoricalNegativeLogLikelihood,
    DiscretizedLogisticNegativeLogLikelihood,
    GaussianNegativeLogLikelihood,
    LaplaceNegativeLogLikelihood,
    NegativeLogLikelihood,
)
from keras_vq.losses.perceptual import PerceptualLoss

__all__ = [
    "AdversarialLoss",
    "BernoulliNegativeLogLikelihood",
    "CategoricalNegativeLogLikelihood",
    "CommitmentLoss",
    "CrossEntropyCommitmentLoss",
    "DiscretizedLogisticNegativeLogLikelihood",
    "EntropyLoss",
    "GaussianNegativeLogLikelihood",
    "HingeAdversarialLoss",
    "LaplaceNegativeLogLikelihood",
    "NegativeLogLikelihood",
    "NonSaturatingAdversarialLoss",
    "PerceptualLoss",
    "deserialize",
    "get",
    "serialize",
]

_REGISTRY = Registry(
    "loss",
    (
        BernoulliNegativeLogLikelihood,
        CategoricalNegativeLogLikelihood,
        CommitmentLoss,
        CrossEntropyCommitmentLoss,
        DiscretizedLogisticNegativeLogLikelihood,
        EntropyLoss,
        GaussianNegativeLogLikelihood,
        HingeAdversarialLoss,
        LaplaceNegativeLogLikelihood,
        NonSaturatingAdversarialLoss,
        PerceptualLoss,
    ),
)
get, serialize, deserialize = _REGISTRY.get, _REGISTRY.serialize, _REGISTRY.deserialize
