"""Tests of exports of a converted model, of the image codec, and of a prior of its codes."""

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq import export
from tests.export.models import NEEDED
from tests.needed import needed
from tests.pretrained import sounds
from tests.pretrained.cases import LDM, SOUND_CASES
from tests.pretrained.references import codes_of, latents_of, live, photographs

needed(*NEEDED)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Returns a live VQModel of diffusers, and the model that is converted from its files."""
    theirs = live("VQModel", **LDM, num_vq_embeddings=64)
    folder = tmp_path_factory.mktemp("converted") / "source"
    theirs.save_pretrained(folder)
    return theirs, keras_vq.from_pretrained(folder, input_shape=(16, 24, 3))


@pytest.mark.parametrize("format", export.FORMATS)
def test_exports_of_a_converted_model(converted, tmp_path, format):
    if keras.backend.backend() != "tensorflow" and format != "onnx":
        pytest.skip("written by a TensorFlow process from a .keras file, or from ONNX")
    theirs, ours = converted
    images = photographs(16, 24)
    codes = codes_of(theirs, latents_of(theirs, images))
    np.testing.assert_array_equal(ours.encode(images), codes)
    path = tmp_path / ("model.tflite" if format == "litert" else "model")
    report = export.verify(ours, ours.export(path, format=format), images)
    assert (report.codes_agree, report.distortion_rise) == (1, 0)
    assert report.largest_decoded_difference <= 1e-4
    assert report.largest_reconstruction_difference <= 1e-4
    assert report.relative_decoded_error <= 1e-4


@pytest.mark.parametrize(
    ("name", "format"),
    [("encodec_24khz", "onnx"), ("encodec_24khz", "tf_saved_model"), ("dac_44khz", "onnx")],
)
def test_exports_of_a_converted_codec(tmp_path, name, format):
    if keras.backend.backend() != "tensorflow" and (name, format) != ("encodec_24khz", "onnx"):
        pytest.skip("the other case stands for this one")
    kind, config, _ = SOUND_CASES[name]
    speech = sounds.speech(160)
    sounds.live(kind, speech, **config).save_pretrained(tmp_path / "source")
    ours = keras_vq.from_pretrained(tmp_path / "source", input_shape=(160, 1))
    report = export.verify(ours, ours.export(tmp_path / "model", format=format), speech)
    assert (report.codes_agree, report.distortion_rise) == (1, 0)
    assert report.relative_decoded_error <= 1e-4
    assert report.largest_reconstruction_difference <= 1e-4


def test_the_codec_compresses_with_a_converted_model(converted):
    _, model = converted
    # One image of the size of a tile, and one that is padded to four tiles.
    images = [photographs(16, 24)[0], photographs(30, 40)[1]]
    codec = keras_vq.codec.ImageCodec(model)
    data = codec.compress(images)
    small, large = codec.decompress(data)
    assert (small.shape, large.shape) == (images[0].shape, images[1].shape)
    expected = model.reconstruct(np.stack([images[0], images[1][:16, :24]]))
    np.testing.assert_allclose(small, expected[0], atol=1e-5)
    np.testing.assert_allclose(large[:16, :24], expected[1], atol=1e-5)
    # 6 bits for each of 8 x 12 codes in five tiles, and a header.
    assert 0 < len(data) - 5 * 8 * 12 * 6 / 8 < 64


@pytest.mark.backend_free
def test_a_prior_of_a_converted_model(converted):
    _, model = converted
    images = photographs(16, 24)
    prior = keras_vq.priors.PixelCNNPrior.for_model(model, hidden_dim=16, num_layers=1, dropout=0.0)
    prior.compile(keras.optimizers.Adam(0.01))
    uniform = np.log(64)
    history = prior.fit_codes(model, images, epochs=40, batch_size=3, verbose=0).history["loss"]
    assert history[-1] < 0.9 * min(history[0], uniform)
    generated = model.generate(2, prior, seed=1)
    assert generated.shape == (2, 16, 24, 3)
    codec = keras_vq.codec.ImageCodec(model, prior)
    data = codec.compress(images)
    np.testing.assert_array_equal(codec.decompress_codes(data), model.encode(images))
    assert len(data) < len(keras_vq.codec.ImageCodec(model).compress(images))
