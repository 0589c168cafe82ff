"""Tests of the lookup of models and images, which all commands share."""

import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

import keras_vq
from keras_vq.data import image_folder
from keras_vq.models import presets
from keras_vq_cli import configuration, images, models
from keras_vq_cli.runs import read_config, read_record

pytestmark = pytest.mark.backend_free


def write_image(path, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, size, "uint8")
    Image.fromarray(pixels).save(path)


def test_presets_are_those_of_the_library():
    assert models.presets() == presets.named_presets()
    assert "vqvae_mnist" in models.presets()


def test_a_model_is_a_run_a_file_or_a_preset(finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert models.named(str(finished_run)).backend == keras.config.backend()
    file = models.named(str(finished_run / "model.keras"))
    assert (file.name, file.backend, file.is_preset) == ("model", None, False)
    assert isinstance(file.load(), keras_vq.VQVAE)

    (tmp_path / "vqvae_mnist").mkdir()  # empty
    preset = models.named("vqvae_mnist")
    assert (preset.name, preset.is_preset, str(preset.folder)) == (
        "vqvae_mnist",
        True,
        "vqvae_mnist",
    )
    model = preset.load()
    assert model.input_shape == (None, 28, 28, 1)
    own = model.save_to_preset(tmp_path / "own")
    assert models.named("own").folder == own.relative_to(tmp_path)
    (own / "preset.json").write_text(json.dumps({"sha256": "0"}))
    with pytest.raises(ValueError, match="was changed or truncated"):
        models.named("own").load()


def test_a_model_of_another_library(run, tmp_path):
    pair = keras_vq.networks.latent_diffusion(
        (16, 16, 3), filters=(8, 8), blocks=1, groups=4, mid_attention=False
    )
    model = keras_vq.VQVAE(pair.encoder, keras_vq.VectorQuantizer(8), pair.decoder)
    keras_vq.pretrained.save_as_diffusers(model, tmp_path / "foreign")
    (tmp_path / "inner").mkdir()
    shutil.copytree(tmp_path / "foreign", tmp_path / "inner" / "vqvae")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), "uint8")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    result = run("reconstruct", "foreign", "a.png", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["images"][0]["bits"] == 128 * 128 * 3
    loaded = models.named(str(tmp_path / "inner")).load(input_shape=(16, 16, 3))
    inputs = pixels[None] / np.float32(255)
    np.testing.assert_array_equal(loaded.encode(inputs), model.encode(inputs))
    assert models.named("hf://owner/name").pretrained == "hf://owner/name"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("vqvae_mnst", "Did you mean 'vqvae_mnist'?"),
        ("vae-mnist", "Did you mean 'vae_mnist'?"),
        ("runs/digts", "Did you mean 'runs/digits'?"),
        ("modl.keras", "Did you mean 'model.keras'?"),
        ("nothing like it", ""),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ("reconstruct", "{}", "a.png"),
        ("compress", "a.png", "-o", "a.kvq", "--model", "{}"),
        ("export", "{}"),
        ("verify", "a.png", "--model", "{}"),
    ],
    ids=lambda command: command[0],
)
def test_a_wrong_name_gets_a_suggestion_in_every_command(run, tmp_path, command, name, hint):
    (tmp_path / "runs" / "digits").mkdir(parents=True)
    (tmp_path / "model.keras").touch()
    write_image(tmp_path / "a.png")
    result = run(*(part.format(name) for part in command))
    assert result.code == 2
    assert "vae_mnist, vqvae_cifar10, vqvae_mnist" in result.err
    assert f"Received: {name} (" in result.err
    assert ("Did you mean" in result.err) == bool(hint)
    assert hint in result.err


def test_a_model_of_another_kind_is_refused(finished_run, tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"keras_vq model of images.*Received: Sequential"):
        models.named(str(tmp_path / "m.keras")).load()


def test_hidden_and_system_files_are_left_out_as_by_the_library(tmp_path):
    wanted = ("a.png", "b/c.JPG", "b/d.e/f.webp")
    others = ("._a.png", ".b/c.png", "b/._c.jpg", "__MACOSX/a.png", "b/@eaDir/a.jpg", "b/n.txt")
    for name in (*wanted, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = images.files_of([str(tmp_path)])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == list(wanted)
    assert found == sorted(image_folder._walk(tmp_path, skip_broken=False))
    assert images.IMAGE_SUFFIXES == image_folder.SUFFIXES
    assert images.SYSTEM_FOLDERS == image_folder.SYSTEM_FOLDERS


CRAFTED = {
    "no mapping": "[]",
    "no YAML": "{",
    "nested deep": "[" * 100_000,
    "long": " " * 1_000_001,
    "not text": b"\xff",
    "aliases": "data: &a {b: 1}\nmodel: *a",
    "a Python object": "data: !!python/object/apply:os.system [ls]",
    "no backend": "seed: 0",
    "backend": "backend: os",
    "backend of another type": "backend: [jax]",
    "an unknown section": "sections: 1",
    "a section of numbers": "data: {1: 2}",
    "no section": "data: 5",
}
CHANGES = [
    *({"model": {"type": value}} for value in ("gan", ["vae"], None)),
    *({"data": {"dataset": value}} for value in ({"a": 1}, None, 5)),
    {"data": {"skip_broken": "yes"}},
    {"data": {"image_size": [8]}},
    {"data": {"image_size": [8, True]}},
    *({"training": {"epochs": value}} for value in (-1, "many", 1.5, True, [3])),
    *({"training": {"batch_size": value}} for value in (0, None)),
    *({"optimizer": {"learning_rate": value}} for value in (float("nan"), 1e999, -1)),
    *({"network": {"filters": value}} for value in ([0], ["--resume"], [[8]], "a")),
    {"seed": -1},
    {"model": {"beta": 2.0}},
    {"training": {"mixed_precision": "float64"}},
    {"training": {"nonsense": 1}},
]


@pytest.mark.parametrize("kind", CRAFTED)
def test_a_crafted_configuration_is_refused(run, finished_run, tmp_path, kind):
    shutil.copytree(finished_run, tmp_path / "run")
    content = CRAFTED[kind]
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "run" / "config.yaml").write_bytes(content)
    write_image(tmp_path / "a.png")
    for command in (("train", "--resume", "--out", "run"), ("reconstruct", "run", "a.png")):
        result = run(*command)
        assert result.code == 2
        assert "config.yaml" in result.err
        assert len(result.err) < 700


@pytest.mark.parametrize(
    "change",
    [
        [],
        {"command": 5},
        {"resumed_by": "often"},
        {"image_shape": "8 8 1"},
        {"train_images": None},
    ],
    ids=str,
)
def test_a_crafted_record_is_refused(finished_run, tmp_path, change):
    record = {**read_record(finished_run), **change} if change else change
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"run\.json must be a record"):
        read_record(tmp_path)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_crafted_settings_are_refused(finished_run, change):
    config = read_config(finished_run)
    for name, section in change.items():
        config[name] = {**config[name], **section} if isinstance(section, dict) else section
    with pytest.raises(ValueError, match=r"Invalid value|requires|has no setting|must be"):
        configuration.check(config)
