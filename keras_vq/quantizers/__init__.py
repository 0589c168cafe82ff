"""Quantizers: layers that map vectors to a finite set of codes."""

from keras_vq.quantizers.base import Quantizer
from keras_vq.quantizers.vector_quantizer import VectorQuantizer

__all__ = ["Quantizer", "VectorQuantizer"]
