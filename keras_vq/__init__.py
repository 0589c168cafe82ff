"""Vector quantization and autoencoders for Keras 3, on TensorFlow, JAX and PyTorch."""

from keras_vq import (
    callbacks,
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
    regularizers,
)
from keras_vq.codebooks import (
    Codebook,
    DeadCodeRestart,
    EMACodebook,
    OnlineClustering,
    ProjectedCodebook,
    StepCodebook,
)
from keras_vq.models import VAE, VQVAE, Autoencoder, load_model
from keras_vq.quantizers import (
    ConditionedVectorQuantizer,
    MultiScale,
    Product,
    Projected,
    Quantizer,
    Residual,
    VectorQuantizer,
)

__version__ = "0.1.0.dev0"

__all__ = [
    "VAE",
    "VQVAE",
    "Autoencoder",
    "Codebook",
    "ConditionedVectorQuantizer",
    "DeadCodeRestart",
    "EMACodebook",
    "MultiScale",
    "OnlineClustering",
    "Product",
    "Projected",
    "ProjectedCodebook",
    "Quantizer",
    "Residual",
    "StepCodebook",
    "VectorQuantizer",
    "callbacks",
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
    "regularizers",
]
