"""Pretrained models of other libraries: weights, codes and outputs on every backend."""

from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._loading import from_pretrained
from keras_vq.pretrained._saving import save_as_diffusers

__all__ = ["ConversionError", "from_pretrained", "save_as_diffusers"]
