"""Reconstruction losses that Keras lacks."""

from keras_vq.losses.bernoulli import BernoulliNegativeLogLikelihood

__all__ = ["BernoulliNegativeLogLikelihood"]
