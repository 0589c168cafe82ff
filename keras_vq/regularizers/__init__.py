"""Penalties on the codes of a codebook that learns by gradient."""

from keras_vq.regularizers.orthogonality import Orthogonality

__all__ = ["Orthogonality"]
