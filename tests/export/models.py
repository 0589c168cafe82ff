"""Small models of each class, trained briefly so that codes differ."""

import keras
import numpy as np

import keras_vq

# All packages that export tests need; if one is missing, all export tests are skipped.
NEEDED = (
    "tensorflow",
    "tensorflow_serving",
    "ai_edge_litert",
    "ai_edge_quantizer",
    "onnx",
    "onnxruntime",
    "openvino",
    "tf2onnx",
)

IMAGE_SHAPE = (12, 12, 1)


def images(count: int = 40) -> np.ndarray:
    """Returns images of smooth blobs with different codes, shape `(count, 12, 12, 1)`."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:12, 0:12]
    centers, widths = rng.uniform(2, 10, (count, 2)), rng.uniform(2, 12, count)
    squares = (y - centers[:, :1, None]) ** 2 + (x - centers[:, 1:, None]) ** 2
    return np.exp(-squares / widths[:, None, None])[..., None].astype("float32")


def networks(dim: int = 4) -> keras_vq.networks.EncoderDecoder:
    return keras_vq.networks.convolutional(IMAGE_SHAPE, filters=(8, 8), latent_dim=dim)


def vqvae() -> keras_vq.VQVAE:
    keras.utils.set_random_seed(1)
    encoder, decoder = networks()
    quantizer = keras_vq.VectorQuantizer(codebook=keras_vq.EMACodebook(16))
    model = keras_vq.VQVAE(encoder, quantizer, decoder)
    model.adapt(images())  # for high codebook usage
    return _trained(model)


def vqvae2() -> keras_vq.VQVAE2:
    keras.utils.set_random_seed(1)
    model = keras_vq.VQVAE2(
        *keras_vq.networks.hierarchical(
            IMAGE_SHAPE, filters=(8,), latent_dim=4, residual_blocks=1, residual_filters=4
        ),
        top_quantizer=keras_vq.VectorQuantizer(codebook=keras_vq.EMACodebook(8)),
        bottom_quantizer=keras_vq.VectorQuantizer(codebook=keras_vq.EMACodebook(16)),
    )
    model.adapt(images())
    return _trained(model)


def vqgan() -> keras_vq.VQGAN:
    keras.utils.set_random_seed(1)
    encoder, decoder = networks()
    return keras_vq.VQGAN(
        encoder,
        keras_vq.VectorQuantizer(16),
        decoder,
        keras_vq.networks.patch_discriminator(IMAGE_SHAPE, filters=(4, 8)),
    )


def identity(quantizer: keras_vq.Quantizer) -> keras_vq.VQVAE:
    """Returns a VQ-VAE that only quantizes pixels, scaled to [-2, 2], in vectors of 4 channels."""
    encoder, decoder = (
        keras.Sequential([keras.Input((3, 3, 4)), keras.layers.Rescaling(*scale)])
        for scale in ((4.0, -2.0), (0.25, 0.5))
    )
    model = keras_vq.VQVAE(encoder, quantizer, decoder)
    model(noise())
    return model


def noise(count: int = 40) -> np.ndarray:
    """Returns random images for `identity`."""
    return np.random.default_rng(0).uniform(size=(count, 3, 3, 4)).astype("float32")


def vae() -> keras_vq.VAE:
    keras.utils.set_random_seed(1)
    encoder, decoder = keras_vq.networks.flat_latent(
        keras_vq.networks.convolutional(
            IMAGE_SHAPE, filters=(8,), latent_dim=None, output_activation="sigmoid"
        ),
        None,
    )
    return _trained(keras_vq.VAE(encoder, decoder, latent_dim=3))


def autoencoder() -> keras_vq.Autoencoder:
    keras.utils.set_random_seed(1)
    encoder, decoder = keras_vq.networks.flat_latent(
        keras_vq.networks.convolutional(IMAGE_SHAPE, filters=(8,), latent_dim=None), 3
    )
    return _trained(keras_vq.Autoencoder(encoder, decoder))


def _trained(model: keras_vq.models.ReconstructionModel) -> keras_vq.models.ReconstructionModel:
    model.compile("adam")
    model.fit(images(), epochs=2, batch_size=8, verbose=0)
    return model


def other_inputs(shape: tuple[int, ...], latents: tuple[int, ...], encoder: list, decoder: list):
    """Returns a VQ-VAE of inputs that are no images, untrained, and their shape."""
    keras.utils.set_random_seed(1)
    model = keras_vq.VQVAE(
        keras.Sequential([keras.Input(shape), *encoder]),
        keras_vq.VectorQuantizer(8),
        keras.Sequential([keras.Input(latents), *decoder]),
    )
    return model, shape


layers = keras.layers
OTHER_INPUTS = {
    # One code per row, and no axis of positions.
    "table": lambda: other_inputs((6,), (4,), [layers.Dense(4)], [layers.Dense(6)]),
    "sequence": lambda: other_inputs(
        (10, 2), (5, 4), [layers.Conv1D(4, 2, 2)], [layers.Conv1DTranspose(2, 2, 2)]
    ),
    "volume": lambda: other_inputs(
        (4, 4, 4, 1), (2, 2, 2, 4), [layers.Conv3D(4, 2, 2)], [layers.Conv3DTranspose(1, 2, 2)]
    ),
}
MODELS = {
    "autoencoder": autoencoder,
    "vae": vae,
    "vqgan": vqgan,
    "vqvae": vqvae,
    "vqvae2": vqvae2,
}
