"""Priors: distributions over code grids and over continuous latents."""

from keras_vq.priors.base import CodePrior
from keras_vq.priors.gaussian_mixture import GaussianMixturePrior
from keras_vq.priors.hierarchical_prior import HierarchicalPrior
from keras_vq.priors.masked_prior import MaskedPrior
from keras_vq.priors.pixel_cnn_prior import PixelCNNPrior
from keras_vq.priors.sampling import sample_codes
from keras_vq.priors.transformer_prior import TransformerPrior

__all__ = [
    "CodePrior",
    "GaussianMixturePrior",
    "HierarchicalPrior",
    "MaskedPrior",
    "PixelCNNPrior",
    "TransformerPrior",
    "sample_codes",
]
