"""Tests of each export format on each backend, run in a process without Keras."""

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq import export
from keras_vq.backend import nested_layers
from keras_vq.export import foreign, tensorflow_process
from tests.export.models import MODELS, NEEDED, OTHER_INPUTS, identity, images, noise
from tests.needed import needed
from tests.quantizers.cases import QUANTIZER_CASES

needed(*NEEDED)

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
)

TENSORFLOW = keras.backend.backend() == "tensorflow"
numpy = keras.ops.convert_to_numpy


def path_for(folder, format):
    return folder / ("model.tflite" if format == "litert" else "model")


# On JAX and PyTorch, a SavedModel is written in a TensorFlow process, which is slow.
@pytest.mark.parametrize("format", export.FORMATS)
@pytest.mark.parametrize("name", ["vqvae", "vqvae2", "vqgan", "vae", "autoencoder"])
def test_a_program_without_keras_gives_the_same(model, tmp_path, name, format):
    if name != "vqvae" and not TENSORFLOW and format != "onnx":
        pytest.skip("the VQ-VAE stands for the others")
    if name == "vqgan" and format != "onnx":
        pytest.skip("a VQ-VAE but for its discriminator, which stays behind")
    if name == "vqvae2" and format in ("tf_saved_model", "openvino"):
        pytest.skip("LiteRT is made from SavedModel, OpenVINO from ONNX")
    if format == "openvino" and not TENSORFLOW:
        pytest.skip("is made from ONNX; float16 is tried below")
    written = model(name).export(path_for(tmp_path, format), format=format)
    report = export.verify(model(name), written, images())
    assert report.largest_decoded_difference <= 1e-5
    assert report.largest_reconstruction_difference <= 1e-5
    assert report.inputs == 40
    if name.startswith("vq"):
        assert (report.codes_agree, report.inputs_agree, report.distortion_rise) == (1, 1, 0)
        for codes in () if name == "vqgan" else keras.tree.flatten(model(name).encode(images())):
            assert len(np.unique(codes)) > 3
    else:
        assert report.largest_latent_difference <= 1e-5
    assert abs(report.mean_squared_error - report.mean_squared_error_of_model) < 1e-7


@pytest.mark.parametrize("format", ["onnx", "tf_saved_model"])
def test_a_model_that_pads_its_images(tmp_path, format):
    if format != "onnx" and not TENSORFLOW:
        pytest.skip("SavedModels are written by TensorFlow, from a .keras file")
    pair = keras_vq.networks.convolutional((11, 9, 1), filters=(4, 4), latent_dim=2, pad=True)
    model = keras_vq.Autoencoder(*pair)
    odd = images()[:, :11, :9]
    report = export.verify(model, model.export(tmp_path / "model", format=format), odd)
    assert report.largest_reconstruction_difference <= 1e-5


@pytest.mark.parametrize("case", ["table", "sequence", "volume"])
def test_models_of_other_inputs_than_images(case, tmp_path):
    model, shape = OTHER_INPUTS[case]()
    inputs = np.random.default_rng(0).normal(size=(8, *shape)).astype("float32")
    model.adapt(inputs)
    for format in ("onnx", "tf_saved_model") if TENSORFLOW and case == "table" else ("onnx",):
        written = model.export(tmp_path / format, format=format)
        report = export.verify(model, written, inputs)
        assert report.codes_agree == 1
        assert report.largest_reconstruction_difference <= 1e-5
        error = np.mean((inputs - model.reconstruct(inputs)) ** 2)  # not clipped
        assert report.mean_squared_error == pytest.approx(error, rel=1e-4)


def test_exports_in_threads(model, tmp_path):
    """The converter of JAX replaces functions of it, in all threads."""
    folders = [tmp_path / str(number) for number in range(3)]
    vqvae = model("vqvae")
    with ThreadPoolExecutor(len(folders)) as pool:
        list(pool.map(lambda folder: vqvae.export(folder, format="onnx"), folders))
    assert export.verify(vqvae, folders[0], images(4)).codes_agree == 1
    files = [{path.name for path in folder.iterdir()} for folder in folders]
    assert files == [{"encode.onnx", "decode.onnx", "serving_default.onnx"}] * 3


@pytest.mark.backend_free
def test_discriminator_is_not_exported(model, tmp_path):
    import tensorflow as tf

    vqgan = model("vqgan")
    folder = vqgan.export(tmp_path / "model")
    written = tf.train.list_variables(str(folder / "variables" / "variables"))
    shapes = {tuple(shape) for _, shape in written}
    assert {tuple(weight.shape) for weight in vqgan.encoder.weights} <= shapes
    kernels = [tuple(w.shape) for w in vqgan.discriminator.weights if len(w.shape) == 4]
    assert len(kernels) == 3
    assert not shapes & set(kernels)


def test_onnx_tensors_have_the_promised_names(model, tmp_path):
    import onnx
    import onnxruntime

    folder = model().export(tmp_path / "model", format="onnx")
    assert sorted(path.name for path in folder.iterdir()) == [
        "decode.onnx",
        "encode.onnx",
        "serving_default.onnx",
    ]
    for signature in model().signatures():
        session = onnxruntime.InferenceSession(folder / f"{signature.name}.onnx")
        (given,), (made,) = session.get_inputs(), session.get_outputs()
        assert (given.name, given.shape[1:]) == (signature.input.name, [*signature.input.shape])
        assert (made.name, made.shape[1:]) == (signature.output.name, [*signature.output.shape])
        assert given.shape[0] == made.shape[0] == "batch"
        low, high = signature.input.bounds
        properties = onnx.load(folder / f"{signature.name}.onnx").metadata_props
        assert {entry.key: entry.value for entry in properties} == {
            "keras_vq.bounds": f"[{low}, {high}]"
        }
    for count in (1, 3):
        answer = foreign.onnx(folder, "encode")(images()[:count])
        np.testing.assert_array_equal(answer, model().encode(images()[:count]))


def test_onnx_export_needs_no_tensorflow_and_shows_no_warnings_of_a_tracer(
    model, tmp_path, monkeypatch
):
    def refuse(*arguments):
        raise AssertionError("The converter of this backend failed.")

    monkeypatch.setattr(tensorflow_process, "write", refuse)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        model().export(tmp_path / "model", format="onnx")
    assert [(w.filename, w.lineno) for w in shown if w.category.__name__ == "TracerWarning"] == []


@pytest.mark.backend_free
def test_signatures(model):
    encode, decode, default = model().signatures()
    assert encode.input == ("inputs", "float32", (12, 12, 1), (0.0, 1.0))
    assert encode.output == decode.input == ("codes", "int32", (3, 3), (0, 15))
    assert decode.output == ("reconstruction", "float32", (12, 12, 1), (None, None))
    assert (default.name, default.output.name) == ("serving_default", "reconstruction")
    assert model("vae").signatures()[0].output == ("latents", "float32", (3,), (None, None))


@pytest.mark.backend_free
def test_a_saved_model_is_laid_out_for_tensorflow_serving(model, tmp_path):
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    base = tmp_path / "served"
    assert model().export(base) == base / "1"
    newest = model().export(base)
    assert sorted(path.name for path in base.iterdir()) == ["1", "2"]

    loaded = tf.saved_model.load(newest)
    records = tf.data.TFRecordDataset(newest / "assets.extra" / "tf_serving_warmup_requests")
    replayed = set()
    for record in records.as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        (output,) = loaded.signatures[request.model_spec.signature_name](
            **{name: tf.constant(value) for name, value in inputs.items()}
        ).values()
        (given,) = inputs.values()
        assert len(output) == len(given)
        replayed.add((request.model_spec.signature_name, len(given)))
    assert replayed == {
        (name, batch) for name in ("encode", "decode", "serving_default") for batch in (1, 4)
    }

    for name in ("encode", "decode", "serving_default"):  # an empty batch
        signature = loaded.signatures[name]
        (key,) = signature.structured_input_signature[1]
        spec = signature.structured_input_signature[1][key]
        (output,) = signature(**{key: tf.zeros((0, *spec.shape[1:]), spec.dtype)}).values()
        assert output.shape[0] == 0
        assert output.shape[1:] == signature.structured_outputs.popitem()[1].shape[1:]


def report_of_litert(model, folder, precision):
    small = model.export(
        folder / "small.tflite",
        format="litert",
        precision=precision,
        calibration_inputs=images(),
    )
    return export.verify(model, small, images())


@pytest.fixture(scope="module")
def bytes_of_float(tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole") / "whole.tflite"
    return _wide_model().export(whole, format="litert").stat().st_size


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("precision", "least_agreement", "most_of_float"),
    [
        ("float16", 0.99, 0.8),
        ("int8_weights", 0.97, 0.8),
        ("int8_dynamic", 0.97, 0.8),
        ("int8_convolutions", 0.95, 0.9),
        ("int16_convolutions", 0.97, 0.9),
    ],
)
def test_smaller_litert_files(bytes_of_float, tmp_path, precision, least_agreement, most_of_float):
    # A wide model, so that weights dominate the file size.
    report = report_of_litert(_wide_model(), tmp_path, precision)
    assert report.codes_agree >= least_agreement
    assert report.distortion_rise < 0.02
    assert report.size_bytes < most_of_float * bytes_of_float
    assert report.codes_agree < 1 or report.largest_decoded_difference > 0  # not float32


@pytest.mark.backend_free
@pytest.mark.parametrize("precision", ["int8_weights", "int16_convolutions"])
def test_int8_keeps_rounded_kernels(tmp_path, precision):
    _wide_model().save(tmp_path / "model.keras")
    rounded = keras_vq.load_model(tmp_path / "model.keras")
    assert export.round_convolutions(rounded) == 6
    report = report_of_litert(rounded, tmp_path, precision)
    assert report.codes_agree == 1
    assert report.largest_decoded_difference < (1e-5 if precision == "int8_weights" else 1e-3)


_made = []


def _wide_model():
    from keras_vq import VQVAE, EMACodebook, VectorQuantizer, networks

    if not _made:
        keras.utils.set_random_seed(0)
        encoder, decoder = networks.convolutional((12, 12, 1), filters=(32, 64), latent_dim=4)
        model = VQVAE(encoder, VectorQuantizer(codebook=EMACodebook(16)), decoder)
        model.compile("adam")
        # Enough used and distant code vectors that a wrong code is detected.
        model.fit(images(), epochs=20, batch_size=8, verbose=0)
        assert len(np.unique(model.encode(images()))) > 4
        _made.append(model)
    return _made[0]


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("policy", "format"), [("mixed_float16", "litert"), ("mixed_bfloat16", "onnx")]
)
def test_halves_that_a_format_has_not_are_written_as_float32(tmp_path, policy, format):
    keras.config.set_dtype_policy(policy)
    try:
        model = MODELS["vqvae"]()
    finally:
        keras.config.set_dtype_policy("float32")
    report = export.verify(model, model.export(path_for(tmp_path, format), format), images())
    assert report.codes_agree > 0.97
    assert 0 < report.relative_decoded_error < 0.01
    assert {layer.compute_dtype for layer in nested_layers(model.encoder)} == {policy[6:]}


@pytest.mark.backend_free
def test_int8_in_the_search_is_advised_against(model, tmp_path):
    with pytest.warns(UserWarning, match=r"only 37 % of the codes .*'int8_convolutions'"):
        model().export(
            tmp_path / "m.tflite", "litert", precision="int8_full", calibration_inputs=images()
        )


def test_openvino_says_that_it_wants_float32(model, tmp_path):
    from keras_vq.export import foreign

    openvino = foreign.import_openvino()
    folder = model().export(tmp_path / "model", format="openvino", precision="float16")
    core = openvino.Core()
    read = core.read_model(folder / "encode.xml")
    assert read.get_rt_info(["keras_vq", "INFERENCE_PRECISION_HINT"]).astype(str) == "f32"
    # OpenVINO defaults to bfloat16 on CPUs that support it, which changes codes.
    halves = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert halves.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    agree = (halves(images())[0] == model().encode(images())).mean()
    assert agree > 0.97


# One case per kind of quantizer, for vectors of dimension 4.
KINDS = [
    case
    for case in QUANTIZER_CASES
    if case.id
    in (
        "cosine",
        "projected_codebook",
        "residual",
        "residual_beam",
        "residual_conditioned",
        "heads",
        "projected",
        "finite_scalar",
        "latent",
        "binary_spherical",
        "gumbel_softmax",
        "index_backpropagation",
    )
]


def quantizing(case):
    """Returns a model that only quantizes, codes of images, and their reconstructions."""
    model = identity(case.build())
    codes = model.encode(noise())
    assert len(np.unique(codes)) > 4
    return model, codes, model.decode(codes)


# LiteRT runs the operations of TensorFlow, so that those of few kinds could be missing.
LITERT_KINDS = ("cosine", "residual_beam", "finite_scalar", "binary_spherical", "gumbel_softmax")


@pytest.mark.backend_free
@pytest.mark.parametrize(
    "case", [case for case in KINDS if case.id in LITERT_KINDS], ids=lambda case: case.id
)
def test_quantizers_in_litert(case, tmp_path):
    model, codes, images = quantizing(case)
    path = model.export(tmp_path / "model.tflite", format="litert")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    found = interpreter.get_signature_runner("encode")(inputs=noise())["codes"]
    np.testing.assert_array_equal(found, codes)
    made = interpreter.get_signature_runner("decode")(codes=codes)["reconstruction"]
    np.testing.assert_allclose(made, images, atol=1e-5)


@pytest.mark.parametrize("case", KINDS, ids=lambda case: case.id)
def test_quantizers_in_onnx(case, tmp_path):
    if not TENSORFLOW and case.id in ("residual_beam", "finite_scalar", "latent"):
        pytest.skip("one that TensorFlow writes instead is tried below")
    model, codes, images = quantizing(case)
    folder = model.export(tmp_path / "model", format="onnx")
    np.testing.assert_array_equal(foreign.onnx(folder, "encode")(noise()), codes)
    np.testing.assert_allclose(foreign.onnx(folder, "decode")(codes), images, atol=1e-5)


@pytest.mark.skipif(TENSORFLOW, reason="the other backends' converters lack operations")
def test_tensorflow_writes_what_a_converter_can_not(tmp_path):
    case = next(case for case in QUANTIZER_CASES if case.id == "residual_beam")
    model, codes, _ = quantizing(case)
    folder = model.export(tmp_path / "model", format="onnx")
    np.testing.assert_array_equal(foreign.onnx(folder, "encode")(noise()), codes)


def test_the_example_in_python(model, tmp_path):
    folder = model().export(tmp_path / "codec", format="onnx")
    np.save(tmp_path / "images.npy", images())
    example = Path(__file__).parents[2] / "docs" / "examples" / "encode.py"
    done = subprocess.run(
        [sys.executable, example, folder, tmp_path / "images.npy"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "codes of shape (40, 3, 3) and type int32" in done.stdout
    error = np.mean((images() - model().reconstruct(images())) ** 2)
    assert f"mean squared error {error:.5f}" in done.stdout
