"""Quantizers: layers that map vectors to a finite set of codes."""

from keras_vq.quantizers.base import Quantizer
from keras_vq.quantizers.conditioned_vector_quantizer import ConditionedVectorQuantizer
from keras_vq.quantizers.multi_scale import MultiScale
from keras_vq.quantizers.product import Product
from keras_vq.quantizers.projected import Projected
from keras_vq.quantizers.residual import Residual
from keras_vq.quantizers.vector_quantizer import VectorQuantizer

__all__ = [
    "ConditionedVectorQuantizer",
    "MultiScale",
    "Product",
    "Projected",
    "Quantizer",
    "Residual",
    "VectorQuantizer",
]
