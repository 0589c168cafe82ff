"""Tests of `keras-vq export` and `keras-vq verify`."""

import json
import shutil

import pytest

from keras_vq import export
from keras_vq_cli.commands import export as export_command
from tests.needed import needed

pytestmark = [
    pytest.mark.backend_free,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
needed("ai_edge_litert", "onnxruntime")


@pytest.fixture(scope="module")
def copied_run(finished_run, tmp_path_factory):
    """Returns a writable copy of the run folder."""
    return shutil.copytree(finished_run, tmp_path_factory.mktemp("copy") / "tiny")


def test_the_command_knows_what_the_library_does():
    assert export_command.FORMATS == export.FORMATS
    known = {name for precisions in export.PRECISIONS.values() for name in precisions}
    assert set(export_command.PRECISIONS) == known


def test_export_and_verify_of_a_run(run, copied_run, tmp_path):
    result = run("export", copied_run, "--format", "onnx")
    assert result.code == 0, result.err
    folder = copied_run / "exports" / "onnx"
    assert (folder / "encode.onnx").is_file()
    assert "codes: int32 (n, 4, 4), 0 to 7" in result.out
    assert str(folder) in result.out

    result = run("verify", folder, "--count", 20)  # test images of the run
    assert result.code == 0, result.err
    assert "100.000 %" in result.out
    report = json.loads((folder / "verify.json").read_text())
    assert (report["inputs"], report["codes_agree"]) == (20, 1.0)

    # A moved export finds its model by fingerprint.
    shutil.copytree(folder, tmp_path / "moved")
    result = run("verify", "moved", "--count", 20)
    assert result.code == 2
    assert "exported from 'tiny', which was not found" in result.err
    shutil.copytree(copied_run, tmp_path / "runs" / "first")
    result = run("verify", "moved", "--count", 20)
    assert result.code == 0, result.err
    assert "Model: first" in result.err
    (tmp_path / "moved" / "model.json").write_text("[]")
    assert "Select it with --model" in run("verify", "moved").err

    result = run("export", copied_run, "--format", "onnx")
    assert result.code == 2
    assert "--overwrite" in result.err
    assert run("export", copied_run, "--format", "onnx", "--overwrite").code == 0


def test_int8_is_calibrated_by_the_run_and_judged_by_what_is_asked(run, copied_run):
    arguments = ("--format", "litert", "--precision", "int8_convolutions")
    assert run("export", copied_run, *arguments).code == 0
    file = copied_run / "exports" / "tiny-int8_convolutions.tflite"
    result = run("verify", file)
    assert result.code == 1  # pixels differ by more than the float32 tolerance
    assert "A pixel differs by" in result.err
    assert (copied_run / "exports" / f"{file.name}.verify.json").is_file()
    assert run("verify", file, "--least-agreement", 80).code == 0


def test_a_keras_file_has_no_images_of_its_own(run, copied_run, tmp_path):
    model = copied_run / "model.keras"
    out = tmp_path / "m.tflite"
    assert run("export", model, "--format", "litert", "--out", out).code == 0
    result = run("verify", out)
    assert result.code == 2
    assert "Select it with --model RUN" in result.err
    result = run("verify", out, "--model", model)
    assert result.code == 2
    assert "Pass images with --images IMG" in result.err
    assert run("verify", out, "--model", copied_run).code == 0
