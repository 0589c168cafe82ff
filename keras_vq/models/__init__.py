"""Trainable autoencoders: VQ-VAE, VQ-VAE-2, VQGAN, VAE, IWAE and a deterministic autoencoder."""

from keras_vq._finite_loss import NonFiniteLossError
from keras_vq._non_finite import NonFiniteWeightsWarning
from keras_vq.models.anomaly_detector import AnomalyDetector
from keras_vq.models.autoencoder import Autoencoder
from keras_vq.models.base import ReconstructionModel
from keras_vq.models.code_model import CodeModel
from keras_vq.models.describing import describe
from keras_vq.models.hierarchical_codes import HierarchicalCodes
from keras_vq.models.iwae import IWAE
from keras_vq.models.loading import ModelFileError, load_model
from keras_vq.models.tiled_model import TiledModel
from keras_vq.models.vae import VAE, PosteriorCollapseWarning
from keras_vq.models.vqgan import VQGAN
from keras_vq.models.vqvae import VQVAE
from keras_vq.models.vqvae2 import VQVAE2

__all__ = [
    "IWAE",
    "VAE",
    "VQGAN",
    "VQVAE",
    "VQVAE2",
    "AnomalyDetector",
    "Autoencoder",
    "CodeModel",
    "HierarchicalCodes",
    "ModelFileError",
    "NonFiniteLossError",
    "NonFiniteWeightsWarning",
    "PosteriorCollapseWarning",
    "ReconstructionModel",
    "TiledModel",
    "describe",
    "load_model",
]
