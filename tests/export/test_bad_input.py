"""Tests that failed exports raise clear errors and keep existing files."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq import export
from keras_vq.backend import nested_layers
from keras_vq.export import formats, saved_model, tensorflow_process
from tests.export.models import NEEDED, images, networks
from tests.needed import needed

needed(*NEEDED)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def names_in(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.backend_free
def test_an_unbuilt_model(tmp_path):
    model = keras_vq.Autoencoder(keras.Sequential([]), keras.Sequential([]))
    with pytest.raises(
        ValueError, match=r"input shape of an exported model must be known.*an unbuilt model"
    ):
        model.export(tmp_path / "m")
    assert names_in(tmp_path) == []


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "h5"}, r"`format` must be one of .*'onnx'.*Received: 'h5'"),
        ({"precision": "float16"}, r"`precision` must be one of \('float32',\).*'float16'"),
        ({"format": "litert"}, r"must end in \.tflite\. Received"),
        (
            {"format": "litert", "precision": "int8_convolutions"},
            r"training inputs. Received: None",
        ),
    ],
)
def test_bad_arguments(model, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        model().export(tmp_path / "m", **arguments)
    assert names_in(tmp_path) == []


@pytest.mark.backend_free
def test_what_is_there_is_not_overwritten(model, tmp_path):
    folder = model().export(tmp_path / "m", format="onnx")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=r"already exists\. Pass `overwrite=True`"):
        model().export(folder, format="onnx")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert model().export(folder, format="onnx", overwrite=True) == folder
    assert sorted(before) == names_in(folder)

    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="must be an export in the format onnx"):
        model().export(folder, format="onnx", overwrite=True)
    with pytest.raises(ValueError, match=r"numbered versions.*which contains"):
        model().export(folder)
    assert (folder / "thesis.txt").read_text() == "years of work"


@pytest.mark.backend_free
def test_a_path_below_a_file(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file"):
        model().export(tmp_path / "file" / "m", format="onnx")
    with pytest.raises(ValueError, match="a file"):
        model().export(tmp_path / "file")


def test_an_export_that_fails_leaves_the_old_one(model, tmp_path, monkeypatch):
    folder = model().export(tmp_path / "m", format="onnx")
    before = names_in(tmp_path)

    def fail(model, signatures, path, *_):
        path.mkdir()
        (path / "encode.onnx").write_text("half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(formats, "_write", fail)
    with pytest.raises(OSError, match="No space left"):
        model().export(folder, format="onnx", overwrite=True)
    with pytest.raises(OSError, match="No space left"):
        model().export(tmp_path / "new" / "deep", format="onnx")
    assert names_in(tmp_path) == before
    codes = export.verify(model(), folder, images(4)).codes_agree
    assert codes == 1


def test_a_child_process_that_is_killed(model, tmp_path, monkeypatch):
    program = "import os, sys\nopen(sys.argv[2], 'w').write('half')\nos.kill(os.getpid(), 9)"
    monkeypatch.setattr(tensorflow_process, "_PROGRAM", program)
    with pytest.raises(export.ExportError, match=r"killed by signal 9 \(out of memory\?\)"):
        tensorflow_process.write(model(), tmp_path / "1", "tf_saved_model", "float32", None)
    assert names_in(tmp_path) == []


@pytest.mark.backend_free
def test_the_child_process_ends_with_the_process_that_started_it(tmp_path):
    (tmp_path / "temporary").mkdir()
    program = tensorflow_process._PROGRAM.partition("import numpy")[0] + "threading.Event().wait()"
    arguments = [tmp_path / "temporary" / "model.keras", "out", "tf_saved_model", "float32", ""]
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert done.returncode == 1
    assert names_in(tmp_path) == []
    # Its standard input, which tells it, has not ended before.
    has_ended = "import select, sys; sys.exit(bool(select.select([0], [], [], 0)[0]))"
    done = tensorflow_process._run([sys.executable, "-c", has_ended], dict(os.environ))
    assert done.returncode == 0


class Doubled(keras.layers.Layer):
    """Custom layer that is not registered in other processes."""

    def call(self, inputs):
        return inputs * 2.0


def test_a_layer_that_the_child_process_does_not_know(tmp_path):
    encoder, decoder = networks()
    encoder = keras.Sequential([keras.Input((12, 12, 1)), encoder, Doubled()])
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
    model(images(2))
    with pytest.raises(export.ExportError, match=r"failed: .*Doubled.*importable package"):
        tensorflow_process.write(model, tmp_path / "1", "tf_saved_model", "float32", None)
    assert names_in(tmp_path) == []


class Drawn(keras.layers.Layer):
    """Layer with an operation that no export format supports."""

    def call(self, inputs):
        return keras.ops.real(keras.ops.fft2((inputs, keras.ops.zeros_like(inputs)))[0]) + inputs


@pytest.mark.backend_free
def test_a_layer_that_a_format_has_no_operation_for(tmp_path):
    encoder, decoder = networks()
    encoder = keras.Sequential([keras.Input((12, 12, 1)), encoder, Drawn()])
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
    model(images(2))
    for format, path in (("litert", "m.tflite"), ("onnx", "m")):
        with pytest.raises(export.ExportError, match=r"cannot (be )?convert|invalid ONNX file"):
            model.export(tmp_path / path, format=format)
    assert names_in(tmp_path) == []


@pytest.mark.backend_free
def test_a_missing_package(model, tmp_path, monkeypatch):
    from keras_vq import _extras

    for missing, text in (
        (("onnx", "onnxruntime", "tf2onnx"), "onnx, onnxruntime and tf2onnx"),
        (("onnx", "tf2onnx"), "onnx and tf2onnx"),
        (("tf2onnx",), "tf2onnx"),
    ):
        monkeypatch.setattr(_extras, "is_missing", missing.__contains__)
        with pytest.raises(ImportError) as raised:
            model().export(tmp_path / "m", format="onnx")
        assert str(raised.value) == (
            f'ONNX export requires {text}. Install with: pip install "keras-vq[onnx]"'
        )
    assert names_in(tmp_path) == []


@pytest.mark.backend_free
def test_a_folder_of_the_name_of_a_package_is_not_installed(tmp_path, monkeypatch):
    from keras_vq._extras import is_missing

    (tmp_path / "no_such_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert is_missing("no_such_package")
    assert is_missing("no_such_package.part")
    assert not is_missing("numpy")


@pytest.mark.backend_free
def test_what_is_no_export_is_not_verified(model, tmp_path):
    with pytest.raises(ValueError, match="`path` must be an export"):
        export.verify(model(), tmp_path, images(2))
    base = tmp_path / "base"
    model().export(base)
    with pytest.raises(ValueError, match=r"Did you mean .*base/1\?"):
        export.verify(model(), base, images(2))
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(np.random.default_rng(0).bytes(2000))
    with pytest.raises(export.ExportError, match=r"litert export .* failed to run"):
        export.verify(model(), broken, images(2))


@pytest.mark.backend_free
@pytest.mark.parametrize(
    "precision", ["int8_weights", "int8_dynamic", "int8_convolutions", "int16_convolutions"]
)
def test_a_network_without_convolutions(tmp_path, precision):
    model = keras_vq.Autoencoder(*keras_vq.networks.dense((12, 12, 1), units=(4,), latent_dim=2))
    model(images(2))
    with pytest.raises(export.ExportError, match=r"without convolutions.*Received: 'int"):
        model.export(
            tmp_path / "m.tflite", "litert", precision=precision, calibration_inputs=images()
        )
    assert names_in(tmp_path) == []


def constant():
    """Returns a model with a zero last kernel, which decodes all codes to 0.455."""
    encoder, decoder = networks()
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
    model(images(2))
    last = [layer for layer in nested_layers(decoder) if hasattr(layer, "kernel")][-1]
    last.kernel.assign(0 * last.kernel)
    last.bias.assign(0 * last.bias + 0.455)
    return model


@pytest.mark.backend_free
def test_a_file_that_is_far_from_its_model(tmp_path, monkeypatch):
    model = constant()
    path = tmp_path / "m.tflite"
    with pytest.raises(export.ExportError, match=r"`decode` of the file differs.* 100 % of the"):
        model.export(path, "litert", precision="int8_convolutions", calibration_inputs=images())
    assert names_in(tmp_path) == []
    report = export.verify(model, model.export(path, "litert", precision="int8_weights"), images())
    assert report.relative_decoded_error < 1e-6

    from keras_vq.export import litert

    monkeypatch.setattr(litert, "_check_answers", lambda *_: None)
    options = {"calibration_inputs": images(), "overwrite": True}
    model.export(path, "litert", precision="int8_convolutions", **options)
    report = export.verify(model, path, images())
    assert report.relative_decoded_error == pytest.approx(1)
    from keras_vq_cli.commands.verify import _faults

    assert _faults(report, 50.0, None) == [
        "Pixels decoded from the same codes or latents differ by 100 % of the largest value (RMS "
        "error), expected at most 10 %"
    ]
    assert _faults(report, 50.0, 1.0) == []


_TELEMETRY = """
import socket, subprocess, sys

def refuse(*_, **__):
    raise SystemExit(f"a connection or a process: {_}")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from keras_vq.export import foreign
subprocess.Popen.__init__ = refuse
foreign.import_onnxruntime()
openvino = foreign.import_openvino()
from openvino.tools.ovc import telemetry
assert telemetry.__class__.__module__.endswith("telemetry_stub"), telemetry.__class__
assert "openvino_telemetry" not in sys.modules
assert foreign.import_openvino() is openvino
"""


@pytest.mark.backend_free
def test_engines_are_imported_without_telemetry():
    command = [sys.executable, "-W", "ignore", "-c", _TELEMETRY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_full_disk_is_no_reason_to_try_another_converter(model, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_vq.export.onnx.SignatureModel.export", fail)
    monkeypatch.setattr(tensorflow_process, "write", lambda *_: pytest.fail("another converter"))
    with pytest.raises(OSError, match="No space left on device"):
        model().export(tmp_path / "m", format="onnx")
    assert names_in(tmp_path) == []


@pytest.mark.backend_free
def test_tensorflow_errors_of_disks_are_those_of_the_system(tmp_path):
    import tensorflow as tf

    def fail(reason):
        with saved_model._errors_of_the_file_system(tmp_path / "1"):
            raise tf.errors.ResourceExhaustedError(None, None, f"variables; {reason}")

    with pytest.raises(OSError, match=r"No space left on device: '.*1'$"):
        fail("No space left on device")
    with pytest.raises(tf.errors.ResourceExhaustedError):
        fail("OOM when allocating tensor")  # of memory
