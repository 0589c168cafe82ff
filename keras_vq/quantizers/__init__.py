"""Quantizers: layers that map vectors to a finite set of code vectors."""

from keras_vq.quantizers.base import Quantizer
from keras_vq.quantizers.binary_quantizer import BinaryQuantizer
from keras_vq.quantizers.categorical_quantizer import CategoricalQuantizer
from keras_vq.quantizers.conditioned_vector_quantizer import ConditionedVectorQuantizer
from keras_vq.quantizers.finite_scalar_quantizer import FiniteScalarQuantizer
from keras_vq.quantizers.index_backpropagation_quantizer import IndexBackpropagationQuantizer
from keras_vq.quantizers.latent_quantizer import LatentQuantizer
from keras_vq.quantizers.multi_scale import MultiScale
from keras_vq.quantizers.product import Product
from keras_vq.quantizers.projected import Projected
from keras_vq.quantizers.random_projection_quantizer import RandomProjectionQuantizer
from keras_vq.quantizers.residual import Residual
from keras_vq.quantizers.vector_quantizer import VectorQuantizer

__all__ = [
    "BinaryQuantizer",
    "CategoricalQuantizer",
    "ConditionedVectorQuantizer",
    "FiniteScalarQuantizer",
    "IndexBackpropagationQuantizer",
    "LatentQuantizer",
    "MultiScale",
    "Product",
    "Projected",
    "Quantizer",
    "RandomProjectionQuantizer",
    "Residual",
    "VectorQuantizer",
]
