"""Vector quantization and autoencoders for Keras 3, on TensorFlow, JAX and PyTorch."""

from keras_vq import (
    codebooks,
    data,
    estimators,
    layers,
    losses,
    metrics,
    models,
    networks,
    ops,
    plots,
    quantizers,
)
from keras_vq.codebooks import Codebook, DeadCodeRestart, EMACodebook
from keras_vq.models import VAE, VQVAE, Autoencoder, load_model
from keras_vq.quantizers import Quantizer, VectorQuantizer

__version__ = "0.1.0.dev0"

__all__ = [
    "VAE",
    "VQVAE",
    "Autoencoder",
    "Codebook",
    "DeadCodeRestart",
    "EMACodebook",
    "Quantizer",
    "VectorQuantizer",
    "codebooks",
    "data",
    "estimators",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "models",
    "networks",
    "ops",
    "plots",
    "quantizers",
]
