"""Tests that unreachable targets and labels are rejected, and other targets accepted."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_vq
from keras_vq.data import ImageDataset
from keras_vq.models._ranges import Range, output_range

INFINITY = float("inf")


def autoencoder(output_activation, loss=None):
    networks = keras_vq.networks.dense(
        (8, 8, 1), units=(8,), latent_dim=2, output_activation=output_activation
    )
    model = keras_vq.Autoencoder(*networks)
    model.compile("sgd", loss=loss)
    return model


def vae(**options):
    networks = keras_vq.networks.dense(
        (8, 8, 1), units=(8,), latent_dim=None, output_activation="sigmoid"
    )
    model = keras_vq.VAE(*networks, latent_dim=2)
    model.compile("sgd", **options)
    return model


@pytest.fixture(scope="module")
def unit(digits):
    return digits[:32]


# --- the range of a decoder


def functional(activation):
    inputs = keras.Input((3,))
    return keras.Model(inputs, layers.Activation(activation)(layers.Dense(2)(inputs)))


class Own(keras.layers.Layer):
    """Custom layer with an unknown output range."""

    activation = staticmethod(keras.activations.tanh)


RANGES = {
    "linear": (lambda: [layers.Dense(2)], Range()),
    "dense sigmoid": (lambda: [layers.Dense(2, activation="sigmoid")], Range(0, 1)),
    "hard_sigmoid": (lambda: [layers.Activation("hard_sigmoid")], Range(0, 1)),
    "softmax": (lambda: [layers.Softmax()], Range(0, 1)),
    "tanh": (lambda: [layers.Dense(2, activation="tanh")], Range(-1, 1)),
    "relu": (lambda: [layers.Activation("relu")], Range(0, INFINITY)),
    "ReLU": (lambda: [layers.ReLU()], Range(0, INFINITY)),
    "ReLU with a ceiling": (lambda: [layers.ReLU(max_value=4.0)], Range(0, 4)),
    "leaky ReLU": (lambda: [layers.ReLU(negative_slope=0.1)], Range()),
    "clip": (lambda: [keras_vq.layers.StraightThroughClip(-2, 3)], Range(-2, 3)),
    "rescaled": (lambda: [layers.Activation("tanh"), layers.Rescaling(-2, 1)], Range(-1, 3)),
    "rescaled ReLU": (lambda: [layers.ReLU(), layers.Rescaling(-1)], Range(-INFINITY, 0)),
    "rescaled linear": (lambda: [layers.Dense(2), layers.Rescaling(2)], Range()),
    "reshaped": (
        lambda: [layers.Dense(2, activation="tanh"), layers.Reshape((2, 1))],
        Range(-1, 1),
    ),
    "linear activation": (
        lambda: [layers.Activation("tanh"), layers.Activation("linear")],
        Range(-1, 1),
    ),
    "models in models": (
        lambda: [keras.Sequential([layers.Dense(2)]), functional("sigmoid")],
        Range(0, 1),
    ),
    "functional": (lambda: [functional("tanh")], Range(-1, 1)),
    "recurrent": (lambda: [layers.GRU(2, activation="sigmoid")], Range()),
    "own": (lambda: [Own()], Range()),
}


@pytest.mark.backend_free
@pytest.mark.parametrize("name", RANGES)
def test_output_range(name):
    make, expected = RANGES[name]
    assert output_range(keras.Sequential(make())) == expected


@pytest.mark.backend_free
@pytest.mark.parametrize("activation", ["clip", "sigmoid", "tanh", "relu", "softplus"])
def test_output_range_contains_the_outputs(activation, rng):
    networks = keras_vq.networks.convolutional((8, 8, 1), output_activation=activation, pad=True)
    latents = 100 * rng.normal(size=(4, *networks.decoder.input_shape[1:]))
    made = keras.ops.convert_to_numpy(networks.decoder(latents.astype("float32")))
    low, high = output_range(networks.decoder)
    assert low <= made.min()
    assert made.max() <= high
    assert low > -INFINITY


# --- targets out of range

OUT_OF_RANGE = {
    "below a clip": (
        lambda: autoencoder("clip"),
        lambda x: 2 * x - 1,
        r"in \[0, 1\].*from -1 to 1",
    ),
    "above a clip": (lambda: autoencoder("clip"), lambda x: 255 * x, r"Divide 8-bit.*0 to 255"),
    "above tanh": (lambda: autoencoder("tanh"), lambda x: 3 * x, r"in \[-1, 1\].*from 0 to 3"),
    "below ReLU": (lambda: autoencoder("relu"), lambda x: x - 1, r"in \[0, inf\).*from -1 to 0"),
    "below a likelihood": (vae, lambda x: 2 * x - 1, "probabilities. Scale.*from -1 to 1"),
    "above a likelihood": (vae, lambda x: 255 * x, "probabilities. Divide 8-bit values by 255"),
    "below cross-entropy": (
        lambda: autoencoder(None, keras.losses.BinaryCrossentropy(from_logits=True)),
        lambda x: 2 * x - 1,
        "the loss 'binary_crossentropy' requires probabilities",
    ),
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_targets_out_of_range(name, unit):
    build, change, text = OUT_OF_RANGE[name]
    model, bad = build(), change(unit)
    calls = (
        lambda: model.fit(bad, verbose=0),
        lambda: model.evaluate(bad, verbose=0),
        lambda: model.train_on_batch(bad),
        lambda: model.test_on_batch(unit, bad),
        lambda: model.fit(unit, bad, verbose=0),
        lambda: model.fit(unit, validation_data=(unit, bad), verbose=0),
        lambda: model.fit((batch for batch in [bad]), verbose=0),
    )
    for call in calls:
        with pytest.raises(ValueError, match=text):
            call()


@pytest.mark.parametrize(("activation", "made"), [("tanh", r"\[-1, 1\]"), ("relu", r"\[0, inf\)")])
def test_likelihoods_reject_outputs_that_are_no_probabilities(activation, made, unit):
    networks = keras_vq.networks.dense(
        (8, 8, 1), units=(8,), latent_dim=None, output_activation=activation
    )
    model = keras_vq.VAE(*networks, latent_dim=2)
    model.compile("sgd")
    with pytest.raises(ValueError, match=rf"output_activation=\"sigmoid\".*outputs in {made}"):
        model.fit(unit, verbose=0)
    # Logits are not restricted to [0, 1].
    model.compile("sgd", loss=keras.losses.BinaryCrossentropy(from_logits=True))
    model.beta = 0.01
    assert np.isfinite(model.fit(unit, verbose=0).history["loss"][0])


def test_inputs_may_leave_the_range_of_the_targets(unit):
    logs = autoencoder("clip").fit(10 * unit - 5, unit, verbose=0).history
    assert np.isfinite(logs["loss"][0])


def test_overshoot_of_resampling_passes(unit):
    resampled = (1.16 * unit - 0.08).astype("float32")
    for build in (vae, lambda: autoencoder("clip"), lambda: autoencoder("sigmoid", "mse")):
        assert np.isfinite(build().fit(resampled, verbose=0).history["loss"][0])
    # The likelihood clips targets to [0, 1].
    model = vae()
    made = model.predict(unit, verbose=0)["reconstruction"].astype("float64")
    x = np.clip(resampled.astype("float64"), 0, 1)
    expected = -(x * np.log(made) + (1 - x) * np.log(1 - made)).sum(axis=(1, 2, 3)).mean()
    made = keras.ops.convert_to_tensor(made, "float32")
    outputs = {"reconstruction": made, "decoder_outputs": made}
    found = model._reconstruction_loss(resampled, outputs)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_unbounded_outputs_take_any_values_without_a_message(unit, rng):
    for given in (255 * unit, rng.normal(0, 100, (32, 8, 8, 1)).astype("float32")):
        model = autoencoder(None)
        model.fit(given, verbose=0)
        model.evaluate(given, verbose=0)
        model.encode(given)
    table = rng.normal(0, 20, (32, 5)).astype("float32")
    model = keras_vq.Autoencoder(
        keras.Sequential([keras.Input((5,)), layers.Dense(2)]),
        keras.Sequential([keras.Input((2,)), layers.Dense(5)]),
    )
    model.compile("sgd")
    assert np.isfinite(model.fit(table, verbose=0).history["loss"][0])
    with pytest.raises(ValueError, match=r"`x` must have the shape \(n, 5\)") as error:
        model.fit(table[:, :4], verbose=0)
    assert "image" not in str(error.value)
    assert "pixel" not in str(error.value)


@pytest.mark.backend_free
def test_losses_of_the_user_may_transform_targets(unit):
    def scaled(target, made):
        return keras.ops.mean(keras.ops.square(target / 255 - made), axis=(1, 2, 3))

    assert np.isfinite(autoencoder("clip", scaled).fit(255 * unit, verbose=0).history["loss"][0])


# --- labels

LABELS = np.arange(32) % 10


@pytest.mark.parametrize(
    "labels", [LABELS, np.eye(10)[LABELS], LABELS[:, None]], ids=["numbers", "one-hot", "column"]
)
def test_labels_are_no_targets(labels, unit):
    networks = keras_vq.networks.convolutional((8, 8, 1), filters=(4,), latent_dim=4)
    model = keras_vq.VQVAE(networks.encoder, keras_vq.VectorQuantizer(8), networks.decoder)
    for loss in (None, "mse"):
        model.compile("sgd", loss=loss)
        for call in (
            lambda: model.fit(unit, labels, verbose=0),
            lambda: model.fit(((unit, labels) for _ in range(1)), verbose=0),
            lambda: model.evaluate(unit, labels, verbose=0),
            lambda: model.evaluate(((unit, labels) for _ in range(1)), verbose=0),
            lambda: model.train_on_batch(unit, labels),
            lambda: model.test_on_batch(unit, labels),
        ):
            with pytest.raises(ValueError, match=r"labels are not supported.*lambda x, label"):
                call()
    assert float(model.measured_data_variance) == 0  # not the variance of labels


@pytest.mark.backend_free
def test_labels_of_data_sets_are_no_targets(unit):
    import tensorflow as tf
    import torch

    pixels = np.rint(255 * unit).astype("uint8")
    tensors = torch.utils.data.TensorDataset(torch.from_numpy(unit), torch.from_numpy(LABELS))
    model = autoencoder("clip")
    for data in (
        ImageDataset(pixels, LABELS).batches(8, with_labels=True),
        tf.data.Dataset.from_tensor_slices((unit, LABELS)).batch(8),
        torch.utils.data.DataLoader(tensors, batch_size=8),
    ):
        for method in (model.fit, model.evaluate):
            with pytest.raises(ValueError, match=r"labels are not supported.*lambda x, label"):
                method(data, verbose=0)
        assert model.encode(data).shape == (32, 2)  # does not use targets


@pytest.mark.backend_free
def test_class_numbers_are_targets_of_a_loss_that_takes_them(rng):
    model = keras_vq.Autoencoder(
        keras.Sequential([keras.Input((5,)), layers.Dense(2)]),
        keras.Sequential([keras.Input((2,)), layers.Dense(10, activation="softmax")]),
    )
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    table = rng.normal(size=(32, 5)).astype("float32")
    assert np.isfinite(model.fit(table, LABELS, verbose=0).history["loss"][0])
