"""List of all converters, in the order in which they are tried."""

from keras_vq.pretrained import (
    autoencoder_kl,
    autoencoder_tiny,
    dac,
    encodec,
    taming,
    var,
    vq_model,
)
from keras_vq.pretrained._family import Family

FAMILIES: tuple[Family, ...] = (
    vq_model.FAMILY,
    autoencoder_kl.FAMILY,
    autoencoder_tiny.FAMILY,
    encodec.FAMILY,
    dac.FAMILY,
    taming.VQ_FAMILY,
    taming.KL_FAMILY,
    taming.LLAMAGEN_FAMILY,
    var.FAMILY,
)
