"""The table that the checks of models run over: one row for each kind of model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops

import keras_vq

IMAGE_SHAPE = (8, 8, 1)


class ModelCase(NamedTuple):
    """A model, and what NumPy says that its logs must be."""

    id: str
    build: Callable[[], Any]
    # Weight in the loss of each logged term.
    loss_weights: dict[str, float]
    # Logs other than the terms of the loss.
    other_logs: tuple[str, ...]
    # (model, images) -> logs of `evaluate`, as far as they are no matter of chance.
    reference: Callable[[Any, np.ndarray], dict[str, float]]


def _dense() -> Any:
    return keras_vq.networks.dense(IMAGE_SHAPE, units=(32,), latent_dim=4)


def _vqvae(quantizer: Any) -> Any:
    encoder, decoder = keras_vq.networks.convolutional(IMAGE_SHAPE, filters=(8,), latent_dim=4)
    return keras_vq.VQVAE(encoder, quantizer, decoder)


def _autoencoder_logs(model: Any, images: np.ndarray) -> dict[str, float]:
    error = images.astype("float64") - model.reconstruct(images)
    return {"reconstruction_loss": (error**2).mean()}


def _vae_logs(model: Any, images: np.ndarray) -> dict[str, float]:
    outputs = model.predict(images, verbose=0)
    mean = outputs["mean"].astype("float64")
    log_variance = outputs["log_variance"].astype("float64")
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
    return {"kl_loss": kl.sum(axis=1).mean()}


def _vqvae_logs(model: Any, images: np.ndarray, distances_in_loss: float) -> dict[str, float]:
    codes = ops.convert_to_numpy(model.quantizer.codebook.codes()).astype("float64")
    latents = ops.convert_to_numpy(model.encoder(images)).astype("float64")
    distances = ((latents[..., None, :] - codes) ** 2).sum(axis=-1)
    chosen = distances.argmin(axis=-1)
    error = images.astype("float64") - model.reconstruct(images)
    counts = np.bincount(chosen.ravel(), minlength=len(codes))
    shares = counts[counts > 0] / counts.sum()
    return {
        "reconstruction_loss": (error**2).mean() / float(model.measured_variance),
        "quantization_loss": distances_in_loss * ((latents - codes[chosen]) ** 2).mean(),
        "perplexity": np.exp(-(shares * np.log(shares)).sum()),
        "codebook_usage": (counts > 0).mean(),
    }


def _vqvae_case(id: str, build: Callable[[], Any], distances_in_loss: float) -> ModelCase:
    return ModelCase(
        id,
        build,
        loss_weights={"reconstruction_loss": 1.0, "quantization_loss": 1.0},
        other_logs=("perplexity", "codebook_usage"),
        reference=lambda model, images: _vqvae_logs(model, images, distances_in_loss),
    )


MODEL_CASES = [
    ModelCase(
        "autoencoder",
        lambda: keras_vq.Autoencoder(*_dense()),
        loss_weights={"reconstruction_loss": 1.0},
        other_logs=(),
        reference=_autoencoder_logs,
    ),
    ModelCase(
        "vae",
        lambda: keras_vq.VAE(*_dense(), latent_dim=4, beta=0.5, seed=3),
        loss_weights={"reconstruction_loss": 1.0, "kl_loss": 0.5},
        other_logs=(),
        reference=_vae_logs,
    ),
    _vqvae_case(
        "vqvae_ema",
        lambda: _vqvae(
            keras_vq.VectorQuantizer(
                keras_vq.EMACodebook(16, decay=0.9, restart=keras_vq.DeadCodeRestart(0.5), seed=5)
            )
        ),
        distances_in_loss=0.25,
    ),
    _vqvae_case(
        "vqvae_gradient",
        lambda: _vqvae(keras_vq.VectorQuantizer(keras_vq.Codebook(16))),
        distances_in_loss=0.25 + 1.0,
    ),
    _vqvae_case(
        "vqvae_rotation",
        lambda: _vqvae(keras_vq.VectorQuantizer(16, commitment=1.0, estimator="rotation_trick")),
        distances_in_loss=1.0,
    ),
]
