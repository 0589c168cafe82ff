"""Tests of `keras-vq inspect` and `keras-vq convert`."""

import json
import shutil

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_vq
from tests.pretrained.cases import SOUND_CASES
from tests.pretrained.sounds import live, speech

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def model():
    pair = keras_vq.networks.latent_diffusion((8, 8, 3), (4,), 2, 1, groups=2, mid_attention=False)
    return keras_vq.VQVAE(pair.encoder, keras_vq.VectorQuantizer(16), pair.decoder)


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    return keras_vq.pretrained.save_as_diffusers(model, tmp_path_factory.mktemp("written") / "vq")


@pytest.fixture
def source(written, tmp_path):
    """Returns a copy of a folder of diffusers, which a test may change."""
    return shutil.copytree(written, tmp_path / "source")


def as_json(result):
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_inspect_describes_a_run(run, finished_run):
    about = as_json(run("inspect", finished_run, "--json"))
    model = keras_vq.load_model(finished_run / "model.keras", compile=False)
    positions = model.encode(np.zeros((1, 8, 8, 1), "float32")).size
    assert about["class"] == "VQVAE"
    assert about["parameters"] == model.count_params()
    assert about["codes_per_input"] == positions
    assert about["bits_per_input"] == 3 * positions
    assert about["bits_per_dimension"] == 3 * positions / 64
    assert about["file_bytes"] == (finished_run / "model.keras").stat().st_size
    assert about["origin"]["dataset"] == "digits"
    assert about["preprocessing"] is None


@pytest.mark.backend_free
def test_inspect_describes_presets(run):
    shown = run("inspect", "vqvae_mnist").out
    rows = [line.split("│") for line in shown.splitlines() if "│" in line]
    cells = {row[1].strip(): row[2].strip() for row in rows}
    assert cells["code_shape"] == "7 x 7"
    assert (cells["bits_per_input"], cells["bits_per_dimension"]) == ("343", "0.4375")
    assert (cells["parameters"], cells["file_bytes"]) == ("52,114", "254.4 kB")
    assert "mnist" in cells["origin.data"]
    about = as_json(run("inspect", "vae_mnist", "--json"))
    assert about["latent_shape"] == [16]
    assert "bits_per_input" not in about


def test_inspect_describes_a_source_of_any_size(run, source):
    about = as_json(run("inspect", source, "--json"))
    assert about["input_shape"] == [None, None, 3]
    assert (about["example_shape"], about["codes_per_input"]) == ([256, 256, 3], 256 * 256)
    assert about["bits_per_dimension"] == 4 / 3
    assert about["preprocessing"]["value_range"] == [-1.0, 1.0]
    assert about["origin"] == {"source": str(source), "family": "VQModel"}
    assert about["file_bytes"] == (source / WEIGHTS).stat().st_size
    assert "any x any x 3" in run("inspect", source).out
    fixed = as_json(run("inspect", source, "--input-shape", "16,16,3", "--json"))
    assert (fixed["input_shape"], fixed["codes_per_input"]) == ([16, 16, 3], 256)


def test_inspect_describes_a_model_of_sound(run, tmp_path):
    pair = keras_vq.networks.encodec((None, 1), filters=4, latent_dim=8, strides=(5, 4))
    stages = keras_vq.ResidualQuantizer([keras_vq.VectorQuantizer(64) for _ in range(2)])
    origin = {"family": "Encodec", "sample_rate": 2000}
    keras_vq.VQVAE(pair.encoder, stages, pair.decoder, provenance=origin).save("sound.keras")
    about = as_json(run("inspect", "sound.keras", "--json"))
    assert about["example_shape"] == [2000, 1]
    assert about["code_shape"] == [100, 2]
    assert about["bits_per_second"] == 100 * 2 * 6
    result = run("export", "sound.keras", "--format", "onnx")
    assert (result.code, "must contain a keras_vq model of images" in result.err) == (2, True)


@pytest.mark.backend_free
def test_the_first_stages_of_a_codec_of_sound(run, tmp_path):
    kind, config, samples = SOUND_CASES["dac_44khz"]
    live(kind, speech(samples, 1), **config).save_pretrained(tmp_path / "dac")
    whole = as_json(run("inspect", "dac", "--json"))
    about = as_json(run("convert", "dac", "--stages", 1, "--out", "dac.keras", "--json"))
    assert about["code_shape"] == [whole["code_shape"][0], 1]
    assert about["bits_per_second"] == pytest.approx(
        whole["bits_per_second"] / whole["code_shape"][1]
    )
    rate = whole["bits_per_second"] / 1000
    assert as_json(run("inspect", "dac", "--bandwidth", rate, "--json")) == whole
    for arguments, message in (
        ("dac --stages 99", "stages"),
        ("dac --stages 1 --bandwidth 2", "bandwidth"),
        ("vqvae_mnist --stages 1", "--stages requires a model of another library"),
    ):
        result = run("inspect", *arguments.split())
        assert (result.code, message in result.err) == (2, True), result.err
        assert result.err.count("\n") <= 2


@pytest.mark.parametrize(
    "out", [pytest.param("made", marks=pytest.mark.backend_free), "made.keras"]
)
def test_convert_writes_what_commands_and_functions_read(run, source, tmp_path, out):
    about = as_json(run("convert", source, "--out", out, "--json"))
    assert (about["path"], about["model"]) == (out, "made")
    file = tmp_path / out if out.endswith(".keras") else tmp_path / out / "model.keras"
    assert about["file_bytes"] == file.stat().st_size
    loaded = keras_vq.load_model(file, compile=False)
    converted = keras_vq.from_pretrained(source).get_weights()
    for weight, expected in zip(loaded.get_weights(), converted, strict=True):
        np.testing.assert_array_equal(weight, expected)
    again = as_json(run("inspect", out, "--json"))
    assert {**about, "path": 0} == {**again, "path": 0}
    assert file.name == out or isinstance(keras_vq.VQVAE.from_preset(out), keras_vq.VQVAE)


@pytest.mark.backend_free
def test_convert_overwrites_only_when_told(run, source, tmp_path):
    (tmp_path / "made.keras").write_text("old")
    refused = run("convert", source, "--out", "made.keras")
    assert (refused.code, "already exists. Pass --overwrite" in refused.err) == (2, True)
    assert (tmp_path / "made.keras").read_text() == "old"
    more = ("--overwrite", "--input-shape", "8,8,3")
    assert run("convert", source, "--out", "made.keras", *more).code == 0
    loaded = keras_vq.load_model("made.keras", compile=False)
    assert loaded.input_shape == (None, 8, 8, 3)


def test_convert_writes_a_folder_for_diffusers(run, source, model, tmp_path):
    model.save("mine.keras")
    result = run("convert", "mine.keras", "--format", "diffusers", "--out", "published")
    assert (result.code, "Written: published" in result.out) == (0, True)
    before, after = load_file(source / WEIGHTS), load_file(tmp_path / "published" / WEIGHTS)
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)
    more = ("--format", "diffusers", "--out", "published")
    assert run("convert", "mine.keras", *more).code == 2
    assert run("convert", "mine.keras", *more, "--overwrite").code == 0


@pytest.mark.backend_free
def test_a_single_file_with_its_configuration(run, source):
    config = source / "config.json"
    result = run("inspect", source / WEIGHTS, "--json")
    assert as_json(result)["class"] == "VQVAE"
    moved = config.rename(source.parent / "other.json")
    result = run("inspect", source / WEIGHTS)
    assert (result.code, "Pass --config for a single file" in result.err) == (2, True)
    assert as_json(run("inspect", source / WEIGHTS, "--config", moved, "--json"))["parameters"]


@pytest.mark.backend_free
def test_missing_tensors_are_listed(run, source):
    tensors = load_file(source / WEIGHTS)
    del tensors["quant_conv.bias"], tensors["encoder.conv_in.weight"]
    save_file(tensors, source / WEIGHTS)
    result = run("convert", source, "--out", "made")
    assert result.code == 2
    assert "missing: encoder.conv_in.weight, quant_conv.bias" in result.err
    assert result.err.splitlines()[-1].startswith("Error: ")
    assert not (source.parent / "made").exists()


@pytest.mark.backend_free
@pytest.mark.parametrize("name", ["a.ckpt", "folder"])
def test_pickle_files_are_refused_with_the_command_that_converts_them(run, tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.bin").write_bytes(b"")
    (tmp_path / "a.ckpt").write_bytes(b"")
    for command in (("convert", name, "--out", "made"), ("inspect", name)):
        result = run(*command)
        assert result.code == 2
        assert "because a pickle file can run code" in result.err
        assert 'python -c "import torch' in result.err


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["convert", "vae_mnist", "--out", "a", "--format", "diffusers"], "networks.latent_diff"),
        (["inspect", "source", "--input-shape", "8,8,1"], "--input-shape must be (height, width"),
        (["inspect", "other.keras"], "must contain a keras_vq model, such as a VQVAE"),
    ],
)
def test_models_that_do_not_fit(run, source, args, message):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save("other.keras")
    result = run(*args)
    assert result.code == 2
    assert message in result.err.splitlines()[-1]
