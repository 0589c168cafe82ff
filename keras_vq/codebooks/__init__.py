"""Codebooks: storage and update rules for code vectors."""

from keras_vq.codebooks.base import BaseCodebook
from keras_vq.codebooks.codebook import Codebook
from keras_vq.codebooks.ema_codebook import EMACodebook
from keras_vq.codebooks.projected_codebook import ProjectedCodebook
from keras_vq.codebooks.restart import DeadCodeRestart, OnlineClustering, RestartRule
from keras_vq.codebooks.step_codebook import StepCodebook

__all__ = [
    "BaseCodebook",
    "Codebook",
    "DeadCodeRestart",
    "EMACodebook",
    "OnlineClustering",
    "ProjectedCodebook",
    "RestartRule",
    "StepCodebook",
]
