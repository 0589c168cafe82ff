"""Tests of options of `compile` and `fit`."""

import csv
import functools
import logging

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from tests.models.cases import MODEL_CASES
from tests.models.checks import assert_same, weights_of

BUILD = {case.id: case.build for case in MODEL_CASES}
BACKEND = keras.backend.backend()


def build(id, **compile_arguments):
    keras.utils.set_random_seed(7)
    model = BUILD[id]()
    optimizer = compile_arguments.pop("optimizer", None) or keras.optimizers.Adam(3e-3)
    model.compile(optimizer, **compile_arguments)
    return model


def fit(model, images, **arguments):
    history = model.fit(images, batch_size=32, shuffle=False, verbose=0, **arguments)
    return {name: values[0] for name, values in history.history.items()}


@pytest.fixture(scope="module")
def small(images):
    return images[:128]


@pytest.fixture(scope="module")
def default_logs(small):
    return {id: fit(build(id), small) for id in ("vae", "vqvae_ema")}


# Modes that are not the default; without torch.compile, which takes a minute.
MODES = {
    "tensorflow": [{"jit_compile": True}, {"run_eagerly": True}],
    "jax": [{"jit_compile": False}],
    "torch": [{"run_eagerly": True}],
}[BACKEND]


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("id", ["vae", "vqvae_ema"])
def test_modes_of_compilation_train_alike(id, mode, small, default_logs):
    logs = fit(build(id, **mode), small)
    # XLA and TensorFlow draw different random numbers from the same seed.
    draws_differ = BACKEND == "tensorflow" and "jit_compile" in mode
    assert logs == pytest.approx(default_logs[id], rel=0.2 if draws_differ else 1e-4)


@pytest.mark.parametrize("id", ["vqvae_ema", "vqvae2"])
def test_steps_that_loss_scaling_skips_do_not_reach_the_codebook(id, small):
    keras.config.set_dtype_policy("mixed_float16")
    scale = 2.0**40  # above the float16 range, so gradients are infinite
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3), scale)
    model = build(id, optimizer=optimizer)

    def state():
        quantizers = model._quantizers().values()
        weights = [weight for quantizer in quantizers for weight in quantizer.weights]
        return [ops.convert_to_numpy(weight).copy() for weight in weights]

    before = state()
    fit(model, small[:64])
    assert float(model.optimizer.dynamic_scale) == scale / 4
    for ours, unchanged in zip(state(), before, strict=True):
        np.testing.assert_array_equal(ours, unchanged)
    model.optimizer.dynamic_scale.assign(1.0)
    fit(model, small[:64])
    assert float(model.optimizer.dynamic_scale) == 1
    assert any((ours != start).any() for ours, start in zip(state(), before, strict=True))


@pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses it on torch")
@pytest.mark.parametrize("id", ["vae", "vqvae_ema"])
def test_steps_per_execution_change_no_losses(id, small, default_logs):
    logs = fit(build(id, steps_per_execution=2), small)
    assert logs == pytest.approx(default_logs[id], rel=1e-4)


@pytest.mark.parametrize(
    ("id", "policy"),
    [
        ("vae", "mixed_float16"),
        ("vqvae_ema", "mixed_float16"),
        ("vqvae_gradient", "mixed_float16"),
        ("vqvae_ema", "mixed_bfloat16"),
    ],
)
def test_mixed_precision(id, policy, small):
    full = BUILD[id]()
    keras.config.set_dtype_policy(policy)
    model = build(id)
    model.set_weights(full.get_weights())
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (
        policy == "mixed_float16"
    )
    half = model.reconstruct(small)
    assert half.dtype == "float32"
    if id == "vae":
        np.testing.assert_allclose(half, full.reconstruct(small), atol=2e-2)
    else:
        # Vectors near a cell boundary may get other codes, so decode the same codes.
        codes = full.encode(small)
        np.testing.assert_allclose(model.decode(codes), full.decode(codes), atol=2e-2)
        assert (model.encode(small) == codes).mean() > 0.95

    before = weights_of(model)
    logs = fit(model, small)
    assert np.isfinite(list(logs.values())).all()
    assert any((old != new).any() for old, new in zip(before, weights_of(model), strict=True))
    assert all(np.isfinite(weight).all() for weight in weights_of(model))
    if id != "vae":
        codebook = model.quantizer.codebook
        assert {str(weight.dtype) for weight in codebook.weights} == {"float32"}
        assert ops.convert_to_numpy(codebook.code_vectors()).dtype == "float32"
        # Codes have float32 precision, so they were not cast to float16.
        codes = ops.convert_to_numpy(codebook.code_vectors())
        assert (codes != codes.astype("float16").astype("float32")).mean() > 0.5


def test_gradient_accumulation(small):
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    model = build("vqvae_gradient", optimizer=optimizer)
    start = [ops.convert_to_numpy(weight).copy() for weight in model.trainable_weights]
    model.train_on_batch(small[:32])
    first = [ops.convert_to_numpy(weight).copy() for weight in model.trainable_weights]
    model.train_on_batch(small[32:64])
    second = [ops.convert_to_numpy(weight).copy() for weight in model.trainable_weights]
    assert_same(first, start)
    assert all((old != new).any() for old, new in zip(start, second, strict=True))


def mean_squared_errors(model, x, y):
    return ((y.astype("float64") - model.reconstruct(x)) ** 2).mean(axis=(1, 2, 3))


def test_sample_weights_drop_images_from_the_reconstruction_term(small):
    model = build("autoencoder")
    weights = np.repeat(np.array([0.0, 1.0, 3.0, 0.0], "float32"), 8)
    expected = (weights * mean_squared_errors(model, small[:32], small[:32])).mean()
    logs = model.test_on_batch(small[:32], sample_weight=weights, return_dict=True)
    assert logs["reconstruction_loss"] == pytest.approx(expected, rel=1e-5)
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
    assert fit(model, small[:32], sample_weight=weights)["loss"] == pytest.approx(
        expected, rel=1e-5
    )

    model = build("autoencoder", optimizer="sgd")
    before = weights_of(model)
    history = model.fit(
        small,
        sample_weight=np.zeros(len(small)),
        validation_data=(small, None, np.zeros(len(small))),
        verbose=0,
    ).history
    assert history["loss"] == history["val_loss"] == [0.0]
    assert_same(weights_of(model), before)


@pytest.mark.parametrize(
    "loss", [None, "mse", keras.losses.Huber(), keras.losses.mean_squared_error]
)
def test_sample_weights_suit_every_loss(loss, small):
    for id in ("vae", "vqvae_gradient"):
        model = build(id, loss=loss)
        weights = np.zeros(32)
        logs = model.test_on_batch(small[:32], sample_weight=weights, return_dict=True)
        assert logs["reconstruction_loss"] == 0.0
        # Sample weights do not apply to latent losses.
        assert logs["loss"] > 0.0


def test_targets_of_their_own(small):
    model = build("autoencoder")
    negatives = 1 - small
    expected = mean_squared_errors(model, small[:32], negatives[:32]).mean()
    logs = model.train_on_batch(small[:32], negatives[:32], return_dict=True)
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
    expected = mean_squared_errors(model, small[:32], negatives[:32]).mean()
    logs = model.test_on_batch(small[:32], negatives[:32], return_dict=True)
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def huber(error):
    return np.where(np.abs(error) < 0.1, 0.5 * error**2, 0.1 * (np.abs(error) - 0.05))


@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [
        ("mse", np.square),
        (keras.losses.Huber(delta=0.1), huber),
        (lambda y, y_pred: ops.mean(ops.abs(y - y_pred), axis=(1, 2, 3)), np.abs),
    ],
    ids=["name", "object", "function"],
)
def test_reconstruction_term_of_compile(loss, by_hand, small):
    model = build("vqvae_gradient", loss=loss)
    expected = by_hand(small[:32].astype("float64") - model.reconstruct(small[:32])).mean()
    logs = model.test_on_batch(small[:32], return_dict=True)
    # Only the default loss is divided by the data variance.
    assert logs["reconstruction_loss"] == pytest.approx(expected, rel=1e-4)
    assert logs["loss"] == pytest.approx(expected + logs["quantization_loss"], rel=1e-5)


def test_metrics_of_compile(small):
    model = build("vqvae_ema", metrics=["mae", keras_vq.metrics.PSNR()])
    logs = model.evaluate(small, batch_size=64, verbose=0, return_dict=True)
    error = small.astype("float64") - model.reconstruct(small)
    psnr = 10 * np.log10(1 / (error**2).mean(axis=(1, 2, 3)))
    assert logs["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert logs["psnr"] == pytest.approx(psnr.mean(), rel=1e-5)
    # With separate targets.
    logs = model.evaluate(small, 1 - small, batch_size=64, verbose=0, return_dict=True)
    error = 1 - small.astype("float64") - model.reconstruct(small)
    assert logs["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)


def test_metrics_begin_anew_with_each_epoch(images):
    model = build("vqvae_ema", optimizer=keras.optimizers.SGD(0.0))
    model.quantizer.trainable = False
    model.compile(keras.optimizers.SGD(0.0))
    half = images[:128]
    history = model.fit(half, epochs=2, batch_size=64, shuffle=False, verbose=0).history
    for name, (first, second) in history.items():
        assert first == pytest.approx(second, rel=1e-5), name


def regularized(strength):
    encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(8,), latent_dim=4)
    decoder.layers[0].kernel_regularizer = keras.regularizers.L2(strength)
    return (
        keras.models.clone_model(encoder),
        # Cloned, because Keras reads the regularizer when it creates the kernel.
        keras.models.clone_model(decoder),
    )


@pytest.mark.parametrize("id", ["autoencoder", "vae", "vqvae"])
def test_penalty_of_weights_is_a_term_of_its_own(id, small):
    encoder, decoder = regularized(0.3)
    keras.utils.set_random_seed(0)
    if id == "autoencoder":
        model = keras_vq.Autoencoder(encoder, decoder)
    elif id == "vae":
        model = keras_vq.VAE(encoder, decoder, latent_dim=4)
    else:
        model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
    kernel = ops.convert_to_numpy(model.decoder.layers[0].kernel)
    model.compile("sgd")
    logs = model.evaluate(small, batch_size=32, verbose=0, return_dict=True)
    assert logs["regularization_loss"] == pytest.approx(0.3 * (kernel**2).sum(), rel=1e-5)
    others = sum(
        logs.get(name, 0) for name in ("reconstruction_loss", "kl_loss", "quantization_loss")
    )
    assert logs["loss"] == pytest.approx(others + logs["regularization_loss"], rel=1e-5)
    if id == "vqvae":
        latents = ops.convert_to_numpy(model.encoder(small))
        distance = ((latents - model.encode_quantized(small)) ** 2).mean()
        assert logs["quantization_loss"] == pytest.approx(0.25 * distance, rel=1e-4)


def test_callbacks(small, held_out, tmp_path):
    model = build("vqvae_ema", metrics=[keras_vq.metrics.PSNR()])
    seen = []

    class Pictures(keras.callbacks.Callback):
        """Callback that calls the model during `fit`, like image grids."""

        def on_train_batch_end(self, batch, logs=None):
            seen.append(self.model.reconstruct(held_out[:8]))

        def on_epoch_end(self, epoch, logs=None):
            seen.append(self.model.reconstruct(held_out[:8]))

    history = model.fit(
        small,
        batch_size=64,
        epochs=6,
        verbose=0,
        validation_data=(held_out, None),
        callbacks=[
            # No improvement by 1000 is possible, so training stops after epoch 3.
            keras.callbacks.EarlyStopping("val_loss", patience=2, min_delta=1000),
            keras.callbacks.ModelCheckpoint(
                tmp_path / "best.keras", "val_psnr", save_best_only=True
            ),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            Pictures(),
        ],
    ).history
    assert len(history["loss"]) == 3
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"epoch", *history}
    for name, values in history.items():
        assert [float(row[name]) for row in rows] == pytest.approx(values)
    best = keras_vq.load_model(tmp_path / "best.keras")
    logs = best.evaluate(held_out, verbose=0, return_dict=True)
    # The mode of PSNR is inferred as max.
    assert logs["psnr"] == pytest.approx(max(history["val_psnr"]), rel=1e-4)
    # Two batches and the end of the epoch, in three epochs.
    assert len(seen) == 9
    assert (seen[0] != seen[1]).any()
    np.testing.assert_array_equal(seen[1], seen[2])
    np.testing.assert_allclose(seen[-1], model.reconstruct(held_out[:8]), atol=1e-6)


@pytest.mark.parametrize("step", [1, 3])
def test_interrupted_fit_leaves_the_weights_of_the_last_step(step, small):
    class Interruption(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == step - 1:
                raise KeyboardInterrupt

    expected = build("vqvae_ema", loss="mse")
    for start in range(0, 32 * (step - 1), 32):
        expected.train_on_batch(small[start : start + 32])
    model = build("vqvae_ema", loss="mse")
    with pytest.raises(KeyboardInterrupt):
        fit(model, small, callbacks=[Interruption()])
    assert_same(weights_of(model), weights_of(expected), atol=1e-6)
    # Training can continue.
    assert np.isfinite(fit(model, small)["loss"])


def test_one_callback_without_a_list(small):
    names = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: names.append(epoch))
    build("autoencoder").fit(small, verbose=0, callbacks=callback)
    assert names == [0]


class Batches(keras.utils.PyDataset):
    def __init__(self, images, targets=None):
        super().__init__()
        self.images, self.targets = images, targets

    def __len__(self):
        return len(self.images) // 32

    def __getitem__(self, index):
        rows = slice(32 * index, 32 * index + 32)
        if self.targets is None:
            return (self.images[rows],)
        return self.images[rows], self.targets[rows]


def generator(images, targets=None):
    batches = Batches(images, targets)
    for index in range(len(batches)):
        yield batches[index]


def tf_dataset(images, targets=None):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(
        (images, images if targets is None else targets)
    ).batch(32)


def torch_loader(images, targets=None):
    import torch

    arrays = (images,) if targets is None else (images, targets)
    data = torch.utils.data.TensorDataset(*(torch.from_numpy(array) for array in arrays))
    return torch.utils.data.DataLoader(data, batch_size=32)


DATA_SETS = [(Batches, True), (Batches, False)]
DATA_SETS += {
    "tensorflow": [(tf_dataset, True)],
    "torch": [(torch_loader, True), (torch_loader, False)],
    "jax": [],
}[BACKEND]


@pytest.fixture(scope="module")
def fitted_to_arrays(small):
    def fit_weights(targets):
        model = build("autoencoder")
        model.fit(small, targets, batch_size=32, shuffle=False, verbose=0)
        return weights_of(model)

    return {True: fit_weights(small[:, ::-1]), False: fit_weights(None)}


@pytest.mark.parametrize(("data_set", "with_targets"), [*DATA_SETS, (generator, True)])
def test_data_sets_train_as_arrays_do(data_set, with_targets, small, fitted_to_arrays):
    targets = small[:, ::-1].copy() if with_targets else None
    model = build("autoencoder")
    model.fit(data_set(small, targets), steps_per_epoch=4, shuffle=False, verbose=0)
    assert_same(weights_of(model), fitted_to_arrays[with_targets], atol=1e-6)


def test_a_split_for_validation_is_the_last_rows(small):
    kinds = {
        "validation_split": (small, {"validation_split": 0.25}),
        "validation_data": (small[:96], {"validation_data": (small[96:],)}),
    }
    logs = {name: fit(build("autoencoder"), of, **data) for name, (of, data) in kinds.items()}
    assert "val_loss" in logs["validation_split"]
    assert logs["validation_split"] == pytest.approx(logs["validation_data"], rel=1e-6)


def tuned_pipelines(monkeypatch, run):
    """Records whether autotuning is enabled for each `tf.data` pipeline that is read."""
    import tensorflow as tf

    read = []
    iterate = tf.data.Dataset.__iter__

    def iterate_and_note(dataset):
        read.append(dataset.options().autotune.enabled)
        return iterate(dataset)

    with monkeypatch.context() as patched:
        patched.setattr(tf.data.Dataset, "__iter__", iterate_and_note)
        run()
    return read


@pytest.mark.backend_free
@pytest.mark.parametrize("data_set", [np.asarray, Batches, tf_dataset])
def test_training_loops_disable_autotuning(data_set, small, monkeypatch):
    model = build("autoencoder")

    def run():
        data = data_set(small)
        model.fit(data, validation_data=data, epochs=2, shuffle=False, verbose=0)
        model.evaluate(data, verbose=0)
        model.predict(data, verbose=0)

    assert set(tuned_pipelines(monkeypatch, run)) == {False}
    assert set(tuned_pipelines(monkeypatch, lambda: model.encode(small))) == {False}


@pytest.mark.parametrize(("chosen", "enabled"), [(None, False), (True, True), (False, False)])
def test_autotuning_set_by_the_user_is_kept(chosen, enabled, small, monkeypatch):
    import tensorflow as tf

    options = tf.data.Options()
    if chosen is not None:
        options.autotune.enabled = chosen
    data = tf_dataset(small).with_options(options)
    model = build("autoencoder")
    run = functools.partial(model.fit, data, shuffle=False, verbose=0)
    assert set(tuned_pipelines(monkeypatch, run)) == {enabled}


@pytest.mark.parametrize(("data_set", "with_targets"), DATA_SETS)
def test_variance_of_data_sets(data_set, with_targets, small):
    model = build("vqvae_ema")
    targets = small[:, ::-1] * 0.5 if with_targets else None
    model._prepare_fit(data_set(small, targets), None)
    expected = (small if targets is None else targets).astype("float64").var()
    assert float(model.measured_data_variance) == pytest.approx(expected, rel=1e-5)


def test_variance_of_what_can_be_read_only_once(small):
    model = build("vqvae_ema")
    start = weights_of(model)
    with pytest.raises(ValueError, match="Pass `data_variance`"):
        model.fit(generator(small), verbose=0)
    assert_same(weights_of(model), start)


def test_train_test_and_predict_on_batches(small):
    model = build("vqvae_ema")
    model.test_on_batch(small[:32])  # measures the data variance
    weights = weights_of(model)
    model.reset_metrics()
    tested = model.test_on_batch(small[:32], return_dict=True)
    assert_same(weights_of(model), weights)
    model.reset_metrics()
    trained = model.train_on_batch(small[:32], return_dict=True)
    # The loss is computed before the update.
    assert trained == pytest.approx(tested, rel=1e-4)
    assert any((a != b).any() for a, b in zip(weights_of(model), weights, strict=True))
    outputs = model.predict(small, batch_size=48, verbose=0)
    np.testing.assert_allclose(outputs["reconstruction"], model.reconstruct(small), atol=1e-6)
    np.testing.assert_array_equal(outputs["codes"], model.encode(small))
    outputs = model.predict_on_batch(small[:32])
    np.testing.assert_allclose(outputs["reconstruction"], model.reconstruct(small[:32]), atol=1e-6)


def test_nothing_is_said_while_nothing_is_wrong(small, capsys, caplog):
    with caplog.at_level(logging.WARNING):
        model = build("vqvae_ema")
        fit(model, small)
        model.reconstruct(small)
    assert not caplog.records
    assert capsys.readouterr() == ("", "")


@pytest.mark.backend_free
def test_likelihoods_reject_clipped_outputs(small):
    encoder, decoder = keras_vq.networks.dense((8, 8, 1), units=(8,), latent_dim=None)
    vae = keras_vq.VAE(encoder, decoder, latent_dim=4, beta=1 / 64)
    vae.compile("adam")
    text = 'Build the networks with `output_activation="sigmoid"`, or compile with another loss'
    with pytest.raises(ValueError, match=text):
        vae.fit(small, verbose=0)
    vae.compile("adam", loss="mean_squared_error")
    assert np.isfinite(vae.fit(small, verbose=0).history["loss"][0])
    autoencoder = keras_vq.Autoencoder(
        *keras_vq.networks.dense((8, 8, 1), units=(8,), latent_dim=4)
    )
    for loss in ("binary_crossentropy", keras.losses.BinaryCrossentropy()):
        autoencoder.compile("adam", loss=loss)
        with pytest.raises(ValueError, match=text):
            autoencoder.fit(small, verbose=0)
    sigmoid = keras_vq.networks.dense((8, 8, 1), (8,), latent_dim=4, output_activation="sigmoid")
    autoencoder = keras_vq.Autoencoder(*sigmoid)
    autoencoder.compile("adam", loss="binary_crossentropy")
    assert np.isfinite(autoencoder.fit(small, verbose=0).history["loss"][0])
