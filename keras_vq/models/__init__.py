"""Models that fit: parts put together, with their losses and their training step."""

from keras_vq._finite_loss import NonFiniteLossError
from keras_vq.models.autoencoder import Autoencoder
from keras_vq.models.base import ReconstructionModel
from keras_vq.models.loading import load_model
from keras_vq.models.vae import VAE
from keras_vq.models.vqvae import VQVAE

__all__ = ["VAE", "VQVAE", "Autoencoder", "NonFiniteLossError", "ReconstructionModel", "load_model"]
