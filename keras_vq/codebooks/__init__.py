"""Codebooks: storage and update rules for code vectors."""

from keras_vq._registry import Registry
from keras_vq.codebooks.base import Codebook
from keras_vq.codebooks.ema_codebook import EMACodebook
from keras_vq.codebooks.gradient_codebook import GradientCodebook
from keras_vq.codebooks.projected_codebook import ProjectedCodebook
from keras_vq.codebooks.restart import DeadCodeRestart, OnlineClustering, RestartRule
from keras_vq.codebooks.sgd_codebook import SGDCodebook

__all__ = [
    "Codebook",
    "DeadCodeRestart",
    "EMACodebook",
    "GradientCodebook",
    "OnlineClustering",
    "ProjectedCodebook",
    "RestartRule",
    "SGDCodebook",
    "deserialize",
    "get",
    "serialize",
]

_REGISTRY = Registry(
    "codebook", (EMACodebook, GradientCodebook, ProjectedCodebook, SGDCodebook), Codebook
)
get, serialize, deserialize = _REGISTRY.get, _REGISTRY.serialize, _REGISTRY.deserialize
