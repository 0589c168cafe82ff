"""List of all converters, in the order in which they are tried."""

from keras_vq.pretrained import autoencoder_tiny
from keras_vq.pretrained._family import Family

FAMILIES: tuple[Family, ...] = (autoencoder_tiny.FAMILY,)
