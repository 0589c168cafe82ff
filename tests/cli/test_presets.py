"""Tests of `keras-vq presets`, which does not import Keras."""

import json

import pytest

import keras_vq
from keras_vq.models import presets
from keras_vq_cli import backend

pytestmark = pytest.mark.backend_free


@pytest.fixture(autouse=True)
def without_keras(monkeypatch):
    monkeypatch.setattr(backend, "import_keras", None)


def test_list_shows_the_records_of_the_library(run):
    records = json.loads(run("presets", "list", "--json").out)
    known = keras_vq.models.ReconstructionModel.presets
    assert [record["preset"] for record in records] == list(known)
    for record in records:
        assert record["figures"] == known[record["preset"]]["figures"]
        folder = presets.named_presets()[record["preset"]]
        assert record["file_bytes"] == (folder / "model.keras").stat().st_size
    (line,) = [line for line in run("presets", "list").out.splitlines() if "vqvae_mnist" in line]
    cells = [cell.strip() for cell in line.split("│")]
    assert cells[1:4] == ["vqvae_mnist", "VQVAE", "52,114"]
    assert "7 x 7 codes of 7 bits" in cells[-2]


def test_info_shows_origin_and_figures(run):
    shown = run("presets", "info", "vqvae_cifar10").out
    for text in ("come from a JPEG copy", "python -m recipes.saved_models", "24.97", "1.2 MB"):
        assert text in shown
    record = json.loads(run("presets", "info", "vqvae_cifar10", "--json").out)
    assert record["seed"] == 0
    assert record["figures"]["codes used"] == 512


@pytest.mark.parametrize("content", ["[]", "{", '{"figures": 3}'])
def test_a_damaged_record_is_refused(run, tmp_path, content):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.keras").touch()
    (tmp_path / "mine" / "preset.json").write_text(content)
    result = run("presets", "info", "mine")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "preset.json" in result.err


def test_control_characters_of_a_record_are_escaped(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.keras").touch()
    record = {"class": "\x1b[2J", "notes": ["\x1b[1m"], "figures": {"a\x1b": "\x1b"}}
    (tmp_path / "mine" / "preset.json").write_text(json.dumps(record))
    result = run("presets", "info", "mine")
    assert result.code == 0
    assert "\x1b" not in result.out
    assert "\\x1b[2J" in result.out


@pytest.mark.parametrize(
    "args", [["presets"], ["presets", "--help"], ["presets", "list", "--help"]]
)
def test_help_has_examples(run, args):
    result = run(*args)
    assert result.code == 0
    assert "keras-vq presets list" in result.out
    assert "--log-file" in result.out
