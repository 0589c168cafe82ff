"""Regularizers of codebooks that are trained by gradient."""

from keras_vq.regularizers.orthogonality import Orthogonality

__all__ = ["Orthogonality"]
