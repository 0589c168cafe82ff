"""Tests of CodebookMonitor: values against NumPy, the collapse warning and the plot."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from keras_vq.callbacks import CodebookMonitor
from keras_vq.callbacks.codebook_monitor import CollapseWarning


def vqvae(quantizer):
    encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(4, 8), latent_dim=4)
    model = keras_vq.VQVAE(encoder, quantizer, decoder)
    model.compile(keras.optimizers.Adam(1e-3))
    return model


def fit(model, images, monitor, epochs=2):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapseWarning)
        history = model.fit(
            images, batch_size=64, epochs=epochs, verbose=0, callbacks=[monitor]
        ).history
    return history, [str(w.message) for w in caught if w.category is CollapseWarning]


def test_figures_are_of_the_codebooks_averages(digits):
    codebook = keras_vq.EMACodebook(16, decay=0.9, restart=keras_vq.DeadCodeRestart())
    model = vqvae(keras_vq.VectorQuantizer(codebook=codebook))
    history, _ = fit(model, digits[:256], CodebookMonitor())
    counts = ops.convert_to_numpy(codebook.recent_counts()).astype("float64")
    shares = counts[counts > 0] / counts.sum()
    dead = (counts <= 0.01 * counts.mean()).sum()
    norms = np.linalg.norm(ops.convert_to_numpy(codebook.code_vectors()), axis=1)
    expected = {
        "codes_perplexity": np.exp(-(shares * np.log(shares)).sum()),
        "codes_dead": dead,
        "codes_in_use": 1 - dead / 16,
        "codes_norm_spread": norms.std() / norms.mean(),
    }
    for name, value in expected.items():
        assert history[name][-1] == pytest.approx(value, rel=1e-5, abs=1e-6)


def test_keras_writes_them_to_a_csv_file(digits, tmp_path):
    model = vqvae(keras_vq.VectorQuantizer(16))
    path = tmp_path / "log.csv"
    callbacks = [CodebookMonitor(), keras.callbacks.CSVLogger(path)]
    history = model.fit(digits[:128], epochs=2, verbose=0, callbacks=callbacks).history
    header, *rows = (line.split(",") for line in path.read_text().splitlines())
    column = header.index("codes_perplexity")
    written = [float(row[column]) for row in rows]
    assert written == pytest.approx(history["codes_perplexity"])
    assert "reconstruction_loss" in header


def test_stages_have_figures_of_their_own(digits):
    stages = [keras_vq.VectorQuantizer(size) for size in (16, 8)]
    model = vqvae(keras_vq.ResidualQuantizer(stages))
    history, _ = fit(model, digits[:128], CodebookMonitor())
    for stage in (0, 1):
        assert len(history[f"stage_{stage}_codes_perplexity"]) == 2
    assert max(history["stage_1_codes_perplexity"]) <= 8


def test_figures_of_images_are_counts_of_their_codes(digits):
    model = vqvae(keras_vq.ProjectedQuantizer(keras_vq.FiniteScalarQuantizer([4, 4]), 2))
    history, _ = fit(model, digits[:128], CodebookMonitor(inputs=digits[:100]), epochs=1)
    codes = model.encode(digits[:100])
    assert history["codes_in_use"][-1] == pytest.approx(len(np.unique(codes)) / 16)
    assert "codes_norm_spread" not in history


def test_a_collapse_is_told_in_words_once(digits):
    far = keras.initializers.Constant(50.0)
    model = vqvae(
        keras_vq.VectorQuantizer(codebook=keras_vq.GradientCodebook(64, decay=0.5, initializer=far))
    )
    _, told = fit(model, digits[:256], CodebookMonitor(patience=2), epochs=4)
    assert len(told) == 1
    assert "has collapsed: after epoch 2 the perplexity of 64 codes is" in told[0]
    assert "restart=DeadCodeRestart()" in told[0]
    assert "EMACodebook" in told[0]


def test_no_warning_for_a_codebook_in_use(digits):
    _, told = fit(vqvae(keras_vq.VectorQuantizer(16)), digits[:256], CodebookMonitor())
    assert told == []


def test_draws_a_picture_after_each_epoch(digits, tmp_path):
    monitor = CodebookMonitor(filepath=tmp_path / "deep" / "usage-{epoch}.png")
    fit(vqvae(keras_vq.VectorQuantizer(16)), digits[:64], monitor)
    files = sorted(path.name for path in (tmp_path / "deep").iterdir())
    assert files == ["usage-1.png", "usage-2.png"]


def test_a_model_without_quantizer():
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="must have quantizers"):
        model.fit(np.zeros((4, 2)), np.zeros((4, 2)), verbose=0, callbacks=[CodebookMonitor()])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"collapse": 1.5}, "`collapse` must be"), ({"patience": 0}, "`patience` must be")],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        CodebookMonitor(**options)


def test_two_stages_of_codes(digits):
    networks = keras_vq.networks.hierarchical((8, 8, 1), (4,), 2, 1, 2)
    quantizers = [keras_vq.VectorQuantizer(size) for size in (16, 8)]
    model = keras_vq.VQVAE2(*networks, *quantizers)
    model.compile("adam")
    history, _ = fit(model, digits[:64], CodebookMonitor(inputs=digits[:32]), epochs=1)
    for stage, codes in enumerate(model.encode(digits[:32])):
        shares = np.unique(codes, return_counts=True)[1] / codes.size
        expected = np.exp(-(shares * np.log(shares)).sum())
        assert history[f"stage_{stage}_codes_perplexity"] == [pytest.approx(expected, rel=1e-5)]
        assert f"stage_{stage}_codes_norm_spread" in history
