"""Encoders and the decoders that mirror them, for images of any shape."""

from keras_vq.networks._shapes import IndivisibleSizeError
from keras_vq.networks.convolutional import convolutional
from keras_vq.networks.dense import dense
from keras_vq.networks.pair import EncoderDecoder, flat_latent
from keras_vq.networks.residual_convolutional import residual_convolutional

__all__ = [
    "EncoderDecoder",
    "IndivisibleSizeError",
    "convolutional",
    "dense",
    "flat_latent",
    "residual_convolutional",
]
