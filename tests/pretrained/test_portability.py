"""Tests of exports of a converted model, which run without Keras and this package."""

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
