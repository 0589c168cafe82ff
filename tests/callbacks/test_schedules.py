"""Tests of schedules of hyperparameters."""

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq.callbacks import CyclicalSchedule, HyperparameterSchedule, LinearSchedule


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((64, 8, 8, 1), "float32")


class Recorder(keras.callbacks.Callback):
    """Records a hyperparameter that each step was run with."""

    def __init__(self, read):
        super().__init__()
        self.read, self.values = read, []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(self.read(self.model))


def vae():
    networks = keras_vq.networks.dense(
        (8, 8, 1), units=(8,), latent_dim=None, output_activation="sigmoid"
    )
    model = keras_vq.VAE(*networks, latent_dim=2, seed=0)
    model.compile(keras.optimizers.SGD(0.0))
    return model


def test_value_of_each_step_and_of_resumed_training(images, tmp_path):
    model = vae()
    recorder = Recorder(lambda model: model.beta)
    callbacks = [HyperparameterSchedule("beta", LinearSchedule(8, 0.5, 2.5)), recorder]
    model.fit(images[:64], batch_size=16, epochs=2, callbacks=callbacks, verbose=0)
    np.testing.assert_allclose(recorder.values, 0.5 + np.arange(8) * 2 / 8)
    model.save(tmp_path / "vae.keras")
    again = keras_vq.load_model(tmp_path / "vae.keras")
    again.fit(images[:64], batch_size=16, epochs=1, callbacks=callbacks, verbose=0)
    np.testing.assert_allclose(recorder.values[8:], 2.5)


def test_the_loss_uses_the_value(images):
    model = vae()
    schedule = HyperparameterSchedule("beta", lambda step: 4.0 * step)
    history = model.fit(
        images[:32], batch_size=32, epochs=3, callbacks=[schedule], verbose=0
    ).history
    weights = np.subtract(history["loss"], history["reconstruction_loss"]) / history["kl_loss"]
    np.testing.assert_allclose(weights, [0.0, 4.0, 8.0], atol=1e-3)


def test_schedules_of_keras_and_paths_of_parts(images):
    encoder, decoder = keras_vq.networks.dense((8, 8, 1), units=(8,), latent_dim=2)
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(4), decoder)
    model.compile("sgd")
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.125])
    recorder = Recorder(lambda model: model.quantizer.commitment_weight)
    callbacks = [HyperparameterSchedule("quantizer.commitment_weight", schedule), recorder]
    model.fit(images[:64], batch_size=16, epochs=1, callbacks=callbacks, verbose=0)
    assert recorder.values == [0.5, 0.5, 0.125, 0.125]


@pytest.mark.backend_free
def test_cycles():
    schedule = CyclicalSchedule(steps=10, ratio=0.4, start=1.0, stop=3.0)
    expected = [1.0, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0] * 2
    np.testing.assert_allclose([schedule(step) for step in range(20)], expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: HyperparameterSchedule("beta", 0.5), "`schedule` must be a function"),
        (lambda: HyperparameterSchedule("betta", float), "Did you mean 'beta'"),
        (lambda: HyperparameterSchedule("latent_dim", float), r"one of \['beta', 'free_bits'"),
        (lambda: HyperparameterSchedule("quantizer.beta", float), "Received: 'quantizer.beta'"),
        (lambda: CyclicalSchedule(4, ratio=1.5), r"`ratio` must be in \(0, 1\]"),
        (lambda: LinearSchedule(0), "`steps` must be"),
    ],
)
def test_wrong_arguments(build, message, images):
    with pytest.raises(ValueError, match=message):
        vae().fit(images[:8], callbacks=[build()], verbose=0)
