"""Pretrained models of other libraries: weights, codes and outputs on every backend."""

from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._loading import from_pretrained

__all__ = ["ConversionError", "from_pretrained"]
