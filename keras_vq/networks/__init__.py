"""Encoders and decoders for images and sequences."""

from keras_vq.networks._shapes import IndivisibleSizeError
from keras_vq.networks.convolutional import convolutional
from keras_vq.networks.dac import dac
from keras_vq.networks.dense import dense
from keras_vq.networks.encodec import encodec
from keras_vq.networks.hierarchical import HierarchicalNetworks, hierarchical
from keras_vq.networks.latent_diffusion import latent_diffusion
from keras_vq.networks.pair import EncoderDecoder, MaskedSequential, flat_latent
from keras_vq.networks.patch_discriminator import patch_discriminator
from keras_vq.networks.residual_convolutional import residual_convolutional
from keras_vq.networks.sequences import (
    convolutional_sequence,
    recurrent_sequence,
    transformer_sequence,
)
from keras_vq.networks.tiny_autoencoder import tiny_autoencoder

__all__ = [
    "EncoderDecoder",
    "HierarchicalNetworks",
    "IndivisibleSizeError",
    "MaskedSequential",
    "convolutional",
    "convolutional_sequence",
    "dac",
    "dense",
    "encodec",
    "flat_latent",
    "hierarchical",
    "latent_diffusion",
    "patch_discriminator",
    "recurrent_sequence",
    "residual_convolutional",
    "tiny_autoencoder",
    "transformer_sequence",
]
