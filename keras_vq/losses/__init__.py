"""Losses of vector quantizers and variational autoencoders."""

from keras_vq.losses.bernoulli import BernoulliNegativeLogLikelihood
from keras_vq.losses.code_entropy import CodeEntropy
from keras_vq.losses.commitment import CrossEntropyCommitment, SquaredCommitment

__all__ = [
    "BernoulliNegativeLogLikelihood",
    "CodeEntropy",
    "CrossEntropyCommitment",
    "SquaredCommitment",
]
