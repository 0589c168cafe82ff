"""Vector quantization and autoencoders for Keras 3, on TensorFlow, JAX and PyTorch."""

# ruff: noqa: E402
from keras_vq import _backend_choice

_backend_choice.choose()  # before the first import of Keras

from keras_vq import (
    callbacks,
    codebooks,
    codec,
    data,
    estimators,
    export,
    layers,
    losses,
    metrics,
    models,
    networks,
    ops,
    plots,
    pretrained,
    priors,
    quantizers,
    regularizers,
)
from keras_vq.codebooks import (
    DeadCodeRestart,
    EMACodebook,
    GradientCodebook,
    OnlineClustering,
    ProjectedCodebook,
    SGDCodebook,
)
from keras_vq.models import IWAE, VAE, VQGAN, VQVAE, VQVAE2, Autoencoder, load_model
from keras_vq.pretrained import from_pretrained
from keras_vq.quantizers import (
    FiniteScalarQuantizer,
    GumbelSoftmaxQuantizer,
    ImplicitNeuralQuantizer,
    IndexBackpropagationQuantizer,
    LatentQuantizer,
    LookupFreeQuantizer,
    MultiScaleQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    Quantizer,
    RandomProjectionQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)

__version__ = "0.1.0.dev0"

__all__ = [
    "IWAE",
    "VAE",
    "VQGAN",
    "VQVAE",
    "VQVAE2",
    "Autoencoder",
    "DeadCodeRestart",
    "EMACodebook",
    "FiniteScalarQuantizer",
    "GradientCodebook",
    "GumbelSoftmaxQuantizer",
    "ImplicitNeuralQuantizer",
    "IndexBackpropagationQuantizer",
    "LatentQuantizer",
    "LookupFreeQuantizer",
    "MultiScaleQuantizer",
    "OnlineClustering",
    "ProductQuantizer",
    "ProjectedCodebook",
    "ProjectedQuantizer",
    "Quantizer",
    "RandomProjectionQuantizer",
    "ResidualQuantizer",
    "SGDCodebook",
    "VectorQuantizer",
    "callbacks",
    "codebooks",
    "codec",
    "data",
    "estimators",
    "export",
    "from_pretrained",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "models",
    "networks",
    "ops",
    "plots",
    "pretrained",
    "priors",
    "quantizers",
    "regularizers",
]
