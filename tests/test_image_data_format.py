"""Tests that the package is channels-last with any `keras.config.image_data_format()`."""

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq import networks
from keras_vq.backend import nested_layers
from tests.models.cases import MODEL_CASES
from tests.priors.cases import PRIOR_CASES
from tests.quantizers.cases import QUANTIZER_CASES

BUILDERS = {
    "dense": lambda: networks.dense((7, 5, 2), units=(8,), latent_dim=2),
    "convolutional": lambda: networks.convolutional((7, 5, 2), (4,), latent_dim=2, pad=True),
    "flat_latent": lambda: networks.flat_latent(networks.convolutional((8, 4, 2), (4,)), 3),
    "residual": lambda: networks.residual_convolutional((7, 5, 2), (4,), 2, 1, 4, pad=True),
    "latent_diffusion": lambda: networks.latent_diffusion((8, 4, 2), (4, 8), 2, 1, (1,), groups=2),
    "tiny_autoencoder": lambda: networks.tiny_autoencoder((8, 4, 2), 4, 2, (1, 1)),
    "sequence": lambda: networks.convolutional_sequence((7, 2), (4,), latent_dim=2, pad=True),
    "recurrent": lambda: networks.recurrent_sequence((7, 2), 4, latent_dim=2, patch=2, pad=True),
    "transformer": lambda: networks.transformer_sequence((8, 2), 8, 1, 2, latent_dim=2),
}


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


def data_formats(layer):
    """Returns the data formats of all sublayers."""
    return {getattr(part, "data_format", None) for part in nested_layers(layer)} - {None}


@pytest.mark.backend_free
@pytest.mark.parametrize("name", BUILDERS)
def test_networks(name, channels_first, rng):
    pair = BUILDERS[name]()
    assert data_formats(pair.encoder) | data_formats(pair.decoder) <= {"channels_last"}
    inputs = rng.random((4, *pair.encoder.input_shape[1:]), "float32")
    model = keras_vq.Autoencoder(*pair)
    model.compile("sgd")
    assert np.isfinite(model.train_on_batch(inputs)).all()
    made = model.reconstruct(inputs)
    keras.config.set_image_data_format("channels_last")
    usual = keras_vq.Autoencoder(*BUILDERS[name]())
    usual.set_weights(model.get_weights())
    np.testing.assert_allclose(usual.reconstruct(inputs), made, atol=1e-6)


@pytest.mark.backend_free
def test_two_level_model(channels_first, rng):
    (case,) = (case for case in MODEL_CASES if case.id == "vqvae2")
    model = case.build()
    assert data_formats(model) == {"channels_last"}
    model.compile("sgd")
    assert np.isfinite(model.train_on_batch(rng.random((4, 8, 8, 1), "float32"))).all()


@pytest.mark.backend_free
def test_discriminator(channels_first):
    discriminator = networks.patch_discriminator((8, 8, 1), filters=(4, 8))
    assert data_formats(discriminator) == {"channels_last"}
    assert discriminator.output_shape == (None, 4, 4, 1)


@pytest.mark.backend_free
@pytest.mark.parametrize("case", PRIOR_CASES, ids=lambda case: case.id)
def test_priors(case, channels_first):
    coarse = {"condition_size": 3, "condition_shape": (1,) * len(case.grid_shape)}
    prior = case.prior(**coarse, num_classes=2)
    assert data_formats(prior) == {"channels_last"}  # at least one, for the condition


@pytest.mark.parametrize(
    "case", [case for case in QUANTIZER_CASES if "scale" in case.id], ids=lambda case: case.id
)
def test_quantizers(case, channels_first, rng):
    quantizer = case.build()
    assert data_formats(quantizer) <= {"channels_last"}


def test_transposed_convolution_is_channels_last_unless_told(channels_first):
    layer = keras_vq.layers.Conv2DTranspose(3, 4, strides=2, padding="same")
    assert tuple(layer(np.zeros((1, 5, 6, 2), "float32")).shape) == (1, 10, 12, 3)
    again = keras_vq.layers.Conv2DTranspose.from_config(layer.get_config())
    assert again.data_format == "channels_last"
    told = keras_vq.layers.Conv2DTranspose(3, 4, data_format="channels_first")
    assert told.data_format == "channels_first"
