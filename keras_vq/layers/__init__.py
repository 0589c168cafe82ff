"""Layers of autoencoders other than quantizers."""

from keras_vq.layers.conv2d_transpose import Conv2DTranspose
from keras_vq.layers.gaussian_sampling import GaussianSampling
from keras_vq.layers.implicit_codes import ImplicitCodes
from keras_vq.layers.residual_stack import ResidualStack

__all__ = ["Conv2DTranspose", "GaussianSampling", "ImplicitCodes", "ResidualStack"]
