"""Tests of Autoencoder, also with custom encoders and decoders."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_vq
from tests.models.checks import weights_of


@keras.saving.register_keras_serializable("tests")
class OwnEncoder(keras.Model):
    """Encoder with layers in the constructor and without `build`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flatten, self.dense = layers.Flatten(), layers.Dense(4)

    def call(self, images):
        return self.dense(self.flatten(images))


@keras.saving.register_keras_serializable("tests")
class OwnDecoder(keras.Layer):
    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 64))

    def call(self, latents):
        return ops.reshape(ops.sigmoid(ops.matmul(latents, self.kernel)), (-1, 8, 8, 1))


def functional_encoder():
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(inputs)))


def sequential_encoder():
    return keras.Sequential([layers.Flatten(), layers.Dense(4)])


def sequential_decoder():
    return keras.Sequential([layers.Dense(64, activation="sigmoid"), layers.Reshape((8, 8, 1))])


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [
        (functional_encoder, sequential_decoder),
        (sequential_encoder, sequential_decoder),
        (OwnEncoder, OwnDecoder),
    ],
    ids=["functional", "sequential", "subclass"],
)
def test_encoders_and_decoders_of_ones_own(encoder, decoder, images, tmp_path):
    model = keras_vq.Autoencoder(encoder(), decoder())
    assert model.built == (encoder is functional_encoder)
    model.compile("adam")
    if not model.built:
        with pytest.raises(ValueError, match=r"must be built. Fit the model.*Received: an unbuilt"):
            model.encode(images)
    losses = model.fit(images, epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]
    # Two kernels and two biases; OwnDecoder has no bias.
    assert len(weights_of(model)) == (3 if decoder is OwnDecoder else 4)
    assert model.encode(images).shape == (256, 4)

    model.save(tmp_path / "model.keras")
    again = keras_vq.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.reconstruct(images), model.reconstruct(images), atol=1e-6)


def test_dropout_is_of_training_only(images):
    encoder = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dropout(0.5, seed=0), layers.Dense(4)]
    )
    model = keras_vq.Autoencoder(encoder, sequential_decoder())
    np.testing.assert_array_equal(model.reconstruct(images), model.reconstruct(images))
    first, second = (
        ops.convert_to_numpy(model(images, training=True)["latents"]) for _ in range(2)
    )
    assert (first != second).any()


def test_learns_what_principal_components_know(images):
    # The minimum error of a linear autoencoder is that of PCA.
    flat = images.reshape(256, 64).astype("float64")
    centered = flat - flat.mean(axis=0)
    variances = np.linalg.svd(centered, compute_uv=False) ** 2 / flat.size
    least = variances[4:].sum()
    assert least * 1.15 < variances[3:].sum()
    encoder = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(4)])
    decoder = keras.Sequential([keras.Input((4,)), layers.Dense(64), layers.Reshape((8, 8, 1))])
    model = keras_vq.Autoencoder(encoder, decoder)
    model.compile(keras.optimizers.Adam(3e-2))
    model.fit(images, epochs=60, batch_size=64, verbose=0)
    loss = model.evaluate(images, verbose=0, return_dict=True)["loss"]
    assert least * 0.999 < loss < least * 1.15
