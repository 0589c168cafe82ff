"""Tests of inference in overlapping tiles."""

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq.models import TiledModel

IMAGES = (2, 40, 56, 3)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 1, IMAGES).astype("float32")


def local_networks(shape=(None, None, 3)):
    """Returns networks with stride 4 whose outputs depend on pixels up to 8 pixels away."""
    keras.utils.set_random_seed(0)
    convolution = keras.layers.Conv2D
    encoder = keras.Sequential(
        [
            keras.Input(shape),
            convolution(8, 3, padding="same", activation="relu"),
            convolution(2, 4, strides=4),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((*(size and size // 4 for size in shape[:2]), 2)),
            keras.layers.UpSampling2D(4),
            convolution(8, 3, padding="same", activation="relu"),
            convolution(3, 3, padding="same", activation="sigmoid"),
        ]
    )
    return encoder, decoder


def vqvae(shape=(None, None, 3)):
    encoder, decoder = local_networks(shape)
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
    model.adapt(np.random.default_rng(1).uniform(0, 1, (4, 16, 16, 3)).astype("float32"))
    return model


def test_tiles_are_equal_to_whole_images_beyond_the_receptive_field(images):
    model = vqvae()
    codes = model.encode(images)
    tiled = TiledModel(model, (24, 16), overlap=8)
    np.testing.assert_array_equal(tiled.encode(images), codes)
    np.testing.assert_allclose(tiled.decode(codes), model.decode(codes), atol=1e-6)
    assert len(np.unique(codes)) > 8
    latents = model.encode_latents(images)
    autoencoder = keras_vq.Autoencoder(model.encoder, model.decoder)
    tiled = TiledModel(autoencoder, (24, 16), overlap=8)
    np.testing.assert_allclose(tiled.encode(images), latents, atol=1e-6)
    without = TiledModel(autoencoder, (24, 16), overlap=0)
    assert np.abs(without.encode(images) - latents).max() > 1e-3


def test_a_model_of_one_size_decodes_images_of_any_size(images):
    model = vqvae((16, 16, 3))
    assert (TiledModel(model).tile_shape, TiledModel(model).overlap) == ((16, 16), 4)
    tiled = TiledModel(model, overlap=8)
    encoder, _ = local_networks()
    encoder.set_weights(model.encoder.get_weights())
    latents = keras.ops.convert_to_numpy(encoder(images))
    _, codes = model.quantizer(latents)
    np.testing.assert_array_equal(tiled.encode(images), keras.ops.convert_to_numpy(codes))
    assert tiled.reconstruct(images).shape == IMAGES


def test_overlaps_are_blended_linearly():
    class Numbered:
        """Model that returns the number of its calls."""

        encoder = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Identity()])
        input_shape = (None, None, None, 1)
        calls = -1

        def encode(self, images, batch_size):
            self.calls += 1
            return np.full(images.shape, self.calls, "float32")

    blended = TiledModel(Numbered(), (16, 16), overlap=8).encode(np.zeros((1, 16, 24, 1)))
    ramp = [0.125, 0.375, 0.625, 0.875]
    np.testing.assert_allclose(blended[0, 0, :, 0], [0] * 10 + ramp + [1] * 10, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (lambda: keras.Sequential(), {}, "`model` must be a built model of images. Received: Seq"),
        (vqvae, {"tile_shape": (16,)}, "`tile_shape` must be"),
        (vqvae, {"tile_shape": (16, 0)}, r"`tile_shape\[...\]` must be a positive integer"),
        (vqvae, {"tile_shape": (18, 16)}, "`tile_shape` must be a multiple of the strides"),
        (vqvae, {"tile_shape": (16, 16), "overlap": 6}, r"multiple of the strides \(4, 4\)"),
        (vqvae, {"tile_shape": (16, 16), "overlap": 12}, "at most half of the tile"),
        (lambda: vqvae((16, 16, 3)), {"tile_shape": (32, 32)}, r"for input shape \(16, 16, 3\)"),
    ],
)
def test_bad_arguments(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        TiledModel(model(), **arguments)


def test_bad_inputs():
    encoder, decoder = local_networks((16, 16, 3))
    scales = keras_vq.MultiScaleQuantizer(keras_vq.VectorQuantizer(8), [2, 4], num_phi=0)
    for model, shape, message in (
        (vqvae(), (1, 18, 16, 3), "height and width that"),
        (vqvae(), (16, 16, 3), "height and width that"),
        (keras_vq.VQVAE(encoder, scales, decoder), (1, 32, 32, 3), "one code or latent vector per"),
    ):
        with pytest.raises(ValueError, match=message):
            TiledModel(model, (16, 16)).encode(np.zeros(shape, "float32"))
