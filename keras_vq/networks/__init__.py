"""Encoders and the decoders that mirror them, for images of any shape."""

from keras_vq.networks._shapes import IndivisibleSizeError
from keras_vq.networks.convolutional import convolutional
from keras_vq.networks.dense import dense
from keras_vq.networks.pair import EncoderDecoder, flat_latent
from keras_vq.networks.patch_discriminator import patch_discriminator
from keras_vq.networks.residual_convolutional import residual_convolutional
from keras_vq.networks.two_level import TwoLevelNetworks, two_level

__all__ = [
    "EncoderDecoder",
    "IndivisibleSizeError",
    "TwoLevelNetworks",
    "convolutional",
    "dense",
    "flat_latent",
    "patch_discriminator",
    "residual_convolutional",
    "two_level",
]
