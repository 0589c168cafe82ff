"""Tests of dropout and rematerialization of `networks.latent_diffusion`."""

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq.layers import ResNetBlock2D, SelfAttention2D
from keras_vq.networks import latent_diffusion

SIZES = ((8, 8, 3), (4,), 2, 1)


def step(images, monkeypatch, **options):
    """Returns the weights after one step of gradient descent, and the number of recomputations."""
    keras.utils.set_random_seed(0)
    wrapped = []
    remat = keras.remat
    with monkeypatch.context() as patch:
        patch.setattr(keras, "remat", lambda function: wrapped.append(function) or remat(function))
        model = keras_vq.Autoencoder(*latent_diffusion(*SIZES, groups=2, **options))
        model.compile(keras.optimizers.SGD(0.1), loss="mse")
        before = [np.array(weight) for weight in model.trainable_weights]
        model.fit(images, images, batch_size=4, verbose=0)
        trained = {function.__self__.name for function in wrapped}
        wrapped.clear()
        model.reconstruct(images)
    assert not wrapped
    after = [np.array(weight) for weight in model.trainable_weights]
    changed = np.mean([not np.array_equal(*pair) for pair in zip(before, after, strict=True)])
    return after, trained, changed


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_rematerialization_keeps_gradients(monkeypatch, dropout):
    images = np.random.default_rng(0).uniform(0.2, 0.8, (4, 8, 8, 3)).astype("float32")
    expected, none, changed = step(images, monkeypatch, dropout=dropout)
    recomputed, trained, _ = step(images, monkeypatch, dropout=dropout, rematerialize=True)
    encoder, decoder = latent_diffusion(*SIZES, groups=2)
    blocks = {
        layer.name
        for layer in (*encoder.layers, *decoder.layers)
        if isinstance(layer, (ResNetBlock2D, SelfAttention2D))
    }
    assert none == set()
    assert trained == blocks
    # The gradient of the bias of keys is zero: it adds the same to all scores of a query.
    assert changed > 0.9
    for one, other in zip(expected, recomputed, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_dropout_is_active_in_training_only():
    block = ResNetBlock2D(64, groups=4, dropout=0.25)
    inputs = np.random.default_rng(0).normal(size=(2, 8, 8, 64)).astype("float32")
    block.build(inputs.shape)
    without = ResNetBlock2D(64, groups=4)
    without.build(inputs.shape)
    without.set_weights([np.array(weight) for weight in block.trainable_weights])
    numpy = keras.ops.convert_to_numpy
    expected = numpy(without(inputs))
    np.testing.assert_allclose(numpy(block(inputs)), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(numpy(without(inputs, training=True)), expected)
    one, other = (numpy(block(inputs, training=True)) for _ in range(2))
    assert not np.allclose(one, other)
    # The last convolution is linear, so the mean over many draws is the output without dropout.
    draws = np.mean([numpy(block(inputs, training=True)) for _ in range(200)], axis=0)
    error = np.sqrt(np.mean((draws - expected) ** 2) / np.mean((one - expected) ** 2))
    assert error == pytest.approx(200**-0.5, rel=0.1)
