"""Test cases of models, one for each kind."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

import keras_vq

IMAGE_SHAPE = (8, 8, 1)


class ModelCase(NamedTuple):
    """Model with the reference values of its logs."""

    id: str
    build: Callable[[], Any]
    # Weight of each logged term in the loss.
    loss_weights: dict[str, float]
    # Names of logs that are not loss terms.
    other_logs: tuple[str, ...]
    # (model, images) -> deterministic logs of `evaluate`, computed in NumPy.
    reference: Callable[[Any, np.ndarray], dict[str, float]]
    # Whether methods of inference differ from those of the other cases.
    infers: bool = True
    # Whether training has state of a kind that the other cases have not.
    has_own_state: bool = True
    # Whether the loss is the sum of its terms, rather than a tighter bound.
    loss_is_sum: bool = True
    # Shape of one input.
    input_shape: tuple[int, ...] = IMAGE_SHAPE


def _dense(output_activation: str = "clip", latent_dim: int | None = 4) -> Any:
    return keras_vq.networks.dense(
        IMAGE_SHAPE, units=(32,), latent_dim=latent_dim, output_activation=output_activation
    )


def flattening(
    shape: tuple[int, ...], features: tuple[int, ...], latents: tuple[int, ...]
) -> tuple[Any, Any]:
    """Returns an encoder of inputs of any shape to features, and a decoder of latents."""
    encoder = [layers.Flatten(), layers.Dense(math.prod(features)), layers.Reshape(features)]
    outputs = layers.Dense(math.prod(shape), activation="sigmoid")
    return (
        keras.Sequential([keras.Input(shape), *encoder]),
        keras.Sequential([keras.Input(latents), layers.Flatten(), outputs, layers.Reshape(shape)]),
    )


def _volumes() -> tuple[Any, Any]:
    encoder = [layers.Conv3D(16, 2, 2, activation="relu"), layers.Dense(4)]
    decoder = [layers.Conv3DTranspose(16, 2, 2, activation="relu"), layers.Dense(1)]
    return (
        keras.Sequential([keras.Input((4, 4, 4, 1)), *encoder]),
        keras.Sequential([keras.Input((2, 2, 2, 4)), *decoder, layers.Activation("sigmoid")]),
    )


def _sequences() -> tuple[Any, Any]:
    encoder = [layers.Conv1D(16, 2, 2, activation="relu"), layers.Dense(4)]
    decoder = [layers.Conv1DTranspose(16, 2, 2, activation="relu"), layers.Dense(4)]
    return (
        keras.Sequential([keras.Input((16, 4)), *encoder]),
        keras.Sequential([keras.Input((8, 4)), *decoder, layers.Activation("sigmoid")]),
    )


def _restarting(codebook_size: int) -> keras_vq.VectorQuantizer:
    restart = keras_vq.DeadCodeRestart(0.5)
    codebook = keras_vq.EMACodebook(codebook_size, decay=0.9, restart=restart, seed=5)
    return keras_vq.VectorQuantizer(codebook=codebook)


def _between(networks: tuple[Any, Any], quantizer: Any) -> Any:
    encoder, decoder = networks
    return keras_vq.VQVAE(encoder, quantizer, decoder)


def _vqvae(quantizer: Any) -> Any:
    networks = keras_vq.networks.convolutional(IMAGE_SHAPE, filters=(8,), latent_dim=4)
    return _between(networks, quantizer)


def _vqvae2() -> Any:
    networks = keras_vq.networks.hierarchical(
        IMAGE_SHAPE, filters=(16,), latent_dim=4, residual_blocks=1, residual_filters=8
    )
    top, bottom = (_restarting(size) for size in (8, 16))
    return keras_vq.VQVAE2(*networks, top_quantizer=top, bottom_quantizer=bottom)


def _vqgan() -> Any:
    encoder, decoder = keras_vq.networks.convolutional(IMAGE_SHAPE, filters=(16,), latent_dim=4)
    pixels = keras.Input(IMAGE_SHAPE)
    first = keras.layers.Conv2D(4, 3, activation="relu")(pixels)
    second = keras.layers.Conv2D(6, 3, activation="relu")(first)
    return keras_vq.VQGAN(
        encoder,
        _restarting(16),
        decoder,
        keras_vq.networks.patch_discriminator(IMAGE_SHAPE, filters=(4, 8)),
        feature_network=keras.Model(pixels, [first, second]),
        perceptual_loss_weight=0.1,
        adversarial_loss_weight=0.1,
        # Within the second epoch.
        discriminator_start=6,
    )


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
    level = _quantized(model.quantizer, ops.convert_to_numpy(model.encoder(images)))
    error = images.astype("float64") - model.reconstruct(images)
    return {
        "reconstruction_loss": (error**2).mean() / float(model.measured_data_variance),
        "quantization_loss": distances_in_loss * level.distortion,
        "perplexity": level.perplexity,
        "codebook_usage": level.usage,
    }


def _vqvae2_logs(model: Any, images: np.ndarray, distances_in_loss: float) -> dict[str, float]:
    features = ops.convert_to_numpy(model.bottom_encoder(images))
    top = _quantized(model.top_quantizer, ops.convert_to_numpy(model.top_encoder(features)))
    decoded = ops.convert_to_numpy(model.top_decoder(top.vectors))
    latents = model.bottom_head(np.concatenate([features, decoded], axis=-1))
    bottom = _quantized(model.bottom_quantizer, ops.convert_to_numpy(latents))
    repeated = top.vectors.repeat(2, axis=1).repeat(2, axis=2)
    made = model.decoder(np.concatenate([repeated, bottom.vectors], axis=-1))
    error = images.astype("float64") - ops.convert_to_numpy(made)
    return {
        "reconstruction_loss": (error**2).mean() / float(model.measured_data_variance),
        "quantization_loss": distances_in_loss * (top.distortion + bottom.distortion),
        "perplexity_top": top.perplexity,
        "codebook_usage_top": top.usage,
        "perplexity_bottom": bottom.perplexity,
        "codebook_usage_bottom": bottom.usage,
    }


def _vqgan_logs(model: Any, images: np.ndarray) -> dict[str, float]:
    made = model.reconstruct(images)
    real, fake = (ops.convert_to_numpy(model.discriminator(part)) for part in (images, made))
    perceptual = 0.0
    maps = zip(model.feature_network(images), model.feature_network(made), strict=True)
    for pair in maps:
        one, other = (ops.convert_to_numpy(features).astype("float64") for features in pair)
        one, other = (
            x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9) for x in (one, other)
        )
        perceptual += ((one - other) ** 2).sum(axis=-1).mean()
    return {
        **_vqvae_logs(model, images, 0.25),
        "perceptual_loss": perceptual,
        "generator_loss": -fake.mean(),
        "discriminator_loss": 0.5 * np.maximum(1 - real, 0).mean()
        + 0.5 * np.maximum(1 + fake, 0).mean(),
    }


class _Quantized(NamedTuple):
    """Latents quantized in NumPy, and their statistics."""

    vectors: np.ndarray
    distortion: float
    perplexity: float
    usage: float


def _quantized(quantizer: Any, latents: np.ndarray) -> _Quantized:
    codes = ops.convert_to_numpy(quantizer.codebook.code_vectors()).astype("float64")
    distances = ((latents.astype("float64")[..., None, :] - codes) ** 2).sum(axis=-1)
    chosen = distances.argmin(axis=-1)
    counts = np.bincount(chosen.ravel(), minlength=len(codes))
    shares = counts[counts > 0] / counts.sum()
    return _Quantized(
        codes[chosen].astype("float32"),
        ((latents - codes[chosen]) ** 2).mean(),
        np.exp(-(shares * np.log(shares)).sum()),
        (counts > 0).mean(),
    )


def _vqvae_case(
    id: str, build: Callable[[], Any], distances_in_loss: float, **flags: Any
) -> ModelCase:
    return ModelCase(
        id,
        build,
        loss_weights={"reconstruction_loss": 1.0, "quantization_loss": 1.0},
        other_logs=("perplexity", "codebook_usage"),
        reference=lambda model, images: _vqvae_logs(model, images, distances_in_loss),
        **flags,
    )


MODEL_CASES = [
    ModelCase(
        "autoencoder",
        lambda: keras_vq.Autoencoder(*_dense()),
        loss_weights={"reconstruction_loss": 1.0},
        other_logs=(),
        reference=_autoencoder_logs,
        has_own_state=False,
    ),
    ModelCase(
        "vae",
        lambda: keras_vq.VAE(*_dense("sigmoid", None), latent_dim=4, beta=0.5, seed=3),
        loss_weights={"reconstruction_loss": 1.0, "kl_loss": 0.5},
        other_logs=(),
        reference=_vae_logs,
    ),
    ModelCase(
        "iwae",
        lambda: keras_vq.IWAE(*_dense("sigmoid", None), latent_dim=4, num_samples=3, seed=3),
        loss_weights={"reconstruction_loss": 1.0, "kl_loss": 1.0},
        other_logs=(),
        reference=_vae_logs,
        infers=False,
        loss_is_sum=False,
    ),
    _vqvae_case(
        "vqvae_ema",
        lambda: _vqvae(_restarting(16)),
        distances_in_loss=0.25,
    ),
    _vqvae_case(
        "vqvae_gradient",
        lambda: _vqvae(keras_vq.VectorQuantizer(codebook=keras_vq.GradientCodebook(16))),
        distances_in_loss=0.25 + 1.0,
        infers=False,
        has_own_state=False,
    ),
    _vqvae_case(
        "vqvae_rotation",
        lambda: _vqvae(
            keras_vq.VectorQuantizer(16, commitment_weight=1.0, estimator="rotation_trick")
        ),
        distances_in_loss=1.0,
        infers=False,
        has_own_state=False,
    ),
    ModelCase(
        "vqvae2",
        _vqvae2,
        loss_weights={"reconstruction_loss": 1.0, "quantization_loss": 1.0},
        other_logs=(
            "perplexity_top",
            "codebook_usage_top",
            "perplexity_bottom",
            "codebook_usage_bottom",
        ),
        reference=lambda model, images: _vqvae2_logs(model, images, 0.25),
        has_own_state=False,
    ),
    ModelCase(
        "vqgan",
        _vqgan,
        # Adversarial terms are not part of `loss`.
        loss_weights={
            "reconstruction_loss": 1.0,
            "quantization_loss": 1.0,
            "perceptual_loss": 0.1,
            "generator_loss": 0.0,
            "discriminator_loss": 0.0,
        },
        other_logs=("perplexity", "codebook_usage", "adaptive_weight"),
        reference=_vqgan_logs,
        infers=False,
    ),
    ModelCase(
        "autoencoder_table",
        lambda: keras_vq.Autoencoder(*flattening((64,), (4,), (4,))),
        loss_weights={"reconstruction_loss": 1.0},
        other_logs=(),
        reference=_autoencoder_logs,
        infers=False,
        has_own_state=False,
        input_shape=(64,),
    ),
    _vqvae_case(
        "vqvae_sequence",
        lambda: _between(_sequences(), _restarting(16)),
        distances_in_loss=0.25,
        has_own_state=False,
        input_shape=(16, 4),
    ),
    _vqvae_case(
        "vqvae_volume",
        lambda: _between(_volumes(), _restarting(16)),
        distances_in_loss=0.25,
        infers=False,
        has_own_state=False,
        input_shape=(4, 4, 4, 1),
    ),
]
