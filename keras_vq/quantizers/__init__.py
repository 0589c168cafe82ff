"""Quantizers: layers that map vectors to a finite set of code vectors."""

from keras_vq.quantizers.base import Quantizer
from keras_vq.quantizers.finite_scalar_quantizer import FiniteScalarQuantizer
from keras_vq.quantizers.gumbel_softmax_quantizer import GumbelSoftmaxQuantizer
from keras_vq.quantizers.implicit_neural_quantizer import ImplicitNeuralQuantizer
from keras_vq.quantizers.index_backpropagation_quantizer import IndexBackpropagationQuantizer
from keras_vq.quantizers.latent_quantizer import LatentQuantizer
from keras_vq.quantizers.lookup_free_quantizer import LookupFreeQuantizer
from keras_vq.quantizers.multi_scale_quantizer import MultiScaleQuantizer
from keras_vq.quantizers.product_quantizer import ProductQuantizer
from keras_vq.quantizers.projected_quantizer import ProjectedQuantizer
from keras_vq.quantizers.random_projection_quantizer import RandomProjectionQuantizer
from keras_vq.quantizers.residual_quantizer import ResidualQuantizer
from keras_vq.quantizers.vector_quantizer import VectorQuantizer

__all__ = [
    "FiniteScalarQuantizer",
    "GumbelSoftmaxQuantizer",
    "ImplicitNeuralQuantizer",
    "IndexBackpropagationQuantizer",
    "LatentQuantizer",
    "LookupFreeQuantizer",
    "MultiScaleQuantizer",
    "ProductQuantizer",
    "ProjectedQuantizer",
    "Quantizer",
    "RandomProjectionQuantizer",
    "ResidualQuantizer",
    "VectorQuantizer",
]
