"""Tests of folders, files and repositories of the Hugging Face Hub as sources."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_vq
from keras_vq.pretrained import ConversionError, save_as_diffusers
from tests.needed import needed
from tests.pretrained.hub_server import REVISION, serving

needed("huggingface_hub", "torch")

pytestmark = pytest.mark.backend_free

WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Returns a folder with a small VQModel, and all its weights as one vector."""
    keras.utils.set_random_seed(0)
    pair = keras_vq.networks.latent_diffusion((8, 8, 3), (4, 8), 2, 1, groups=2)
    model = keras_vq.VQVAE(pair.encoder, keras_vq.VectorQuantizer(16), pair.decoder)
    model.set_weights([weight + 0.1 for weight in model.get_weights()])
    folder = save_as_diffusers(model, tmp_path_factory.mktemp("written") / "source")
    return folder, weights_of(keras_vq.from_pretrained(folder))


@pytest.fixture
def source(written, tmp_path):
    """Returns a copy of the folder, which a test may change."""
    return Path(shutil.copytree(written[0], tmp_path / "source"))


def weights_of(model):
    return np.concatenate([np.ravel(weight) for weight in model.trainable_weights])


def check(written, *arguments):
    np.testing.assert_array_equal(weights_of(keras_vq.from_pretrained(*arguments)), written[1])


def split(folder):
    """Replaces the safetensors file of a folder by two files and an index."""
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names, weight_map = sorted(tensors), {}
    for part in range(2):
        file = f"diffusion_pytorch_model-0000{part + 1}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names[part::2]}, folder / file)
        weight_map |= dict.fromkeys(names[part::2], file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return weight_map


def test_a_single_file_reads_the_configuration_beside_it(written, source):
    check(written, source / WEIGHTS)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").rename(source / "other.json")
    check(written, source / WEIGHTS, source / "other.json")
    check(written, source / WEIGHTS, config)
    with pytest.raises(ConversionError, match=r"known family.*no class name and tensors such as"):
        keras_vq.from_pretrained(source)


@pytest.mark.parametrize("folder", ["vae", "vqvae", "movq"])
def test_folders_of_pipelines(written, tmp_path, folder):
    shutil.copytree(written[0], tmp_path / folder)
    (tmp_path / "model_index.json").write_text("{}")
    check(written, tmp_path)


def test_several_files_with_an_index(written, source):
    weight_map = split(source)
    check(written, source)
    for change, message in (
        ({}, "must have a `weight_map`.*Received: {}"),
        (None, "must have a `weight_map`.*Received: None"),
        ([["x"]], "must have a `weight_map`"),
        ({"x": 3}, "must have a `weight_map`"),
        ({"x": []}, "must have a `weight_map`"),
        ({"x": "../config.json"}, "must have a `weight_map`"),
        ({"x": "../x.safetensors"}, "must have a `weight_map`"),
        ({**weight_map, "x": "third.safetensors"}, "Missing: third.safetensors"),
    ):
        (source / INDEX).write_text(json.dumps({"weight_map": change}))
        with pytest.raises(ConversionError, match=message):
            keras_vq.from_pretrained(source)
    first = sorted(source.glob("*-of-*"))[0]
    shutil.copy(first, source / "third.safetensors")
    (source / INDEX).write_text(
        json.dumps({"weight_map": {**weight_map, "x": "third.safetensors"}})
    )
    with pytest.raises(ConversionError, match=r"each tensor once.*several tensors decoder"):
        keras_vq.from_pretrained(source)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_tensors_of_other_types(source, dtype):
    import torch
    from safetensors.torch import load_file, save_file

    tensors = {
        name: tensor.to(getattr(torch, dtype))
        for name, tensor in load_file(source / WEIGHTS).items()
    }
    save_file(tensors, source / WEIGHTS)
    found = keras_vq.from_pretrained(source)
    kernel = tensors["encoder.conv_in.weight"].float().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(found.encoder.get_layer("conv_in").kernel, kernel)
    assert found.encoder.get_layer("conv_in").kernel.dtype == "float32"


def test_tensors_of_unknown_types(source):
    import torch
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2, dtype=torch.complex64)}, source / WEIGHTS)
    with pytest.raises(ConversionError, match=r"tensors of the types F64.*Received: C64"):
        keras_vq.from_pretrained(source)


def test_pickle_files_are_refused_with_the_command_that_converts_them(written, source):
    import torch
    from safetensors.torch import load_file

    config = source / "config.json"
    tensors = load_file(source / WEIGHTS)
    (source / WEIGHTS).unlink()
    torch.save({"state_dict": tensors, "epoch": 3}, source / "last.ckpt")
    for refused in (source, source / "last.ckpt"):
        with pytest.raises(ConversionError, match=r"can run code.*\.ckpt'$") as raised:
            keras_vq.from_pretrained(refused)
    command = str(raised.value).partition("PyTorch: ")[2].partition(". Received")[0]
    program, *arguments = shlex.split(command)
    assert program == "python"
    subprocess.run([sys.executable, *arguments], cwd=source, check=True)
    check(written, source / "last.safetensors", config)


def test_damaged_files(source, tmp_path):
    cut = (source / WEIGHTS).read_bytes()[:-10]
    (tmp_path / "cut.safetensors").write_bytes(cut)
    (tmp_path / "big.json").write_text("[" * 5_000_000)
    (tmp_path / "list.json").write_text("[1]")
    for arguments, message in (
        ((tmp_path / "cut.safetensors",), "must be a complete safetensors file"),
        ((tmp_path / "missing",), "which does not exist"),
        ((source / "config.json",), r"must be a safetensors file.*suffix '\.json'"),
        ((source, tmp_path / "missing.json"), "must be a JSON file.*No such file"),
        ((source, tmp_path / "big.json"), "must be a JSON file.*more than 4,194,304 bytes"),
        ((source, tmp_path / "list.json"), "must be a JSON object. Received: list"),
        ((source, 5), "`config` must be a dictionary or the path of a JSON file. Received: 5"),
    ):
        with pytest.raises(ConversionError, match=message):
            keras_vq.from_pretrained(*arguments)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConversionError, match="Received: an empty folder"):
        keras_vq.from_pretrained(tmp_path / "empty")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block_out_channels": [10**6, 8]}, "more weights than the file contains"),
        ({"block_out_channels": [10**9, 8]}, r"`block_out_channels` of the type of \(64,\)"),
        ({"block_out_channels": "wide"}, "Received: block_out_channels='wide'"),
        ({"block_out_channels": [8] * 10**5}, "at most 16 entries"),
        ({"block_out_channels": [3, 8]}, "`groups` must divide"),
        ({"latent_channels": 2**24}, "more weights than the file contains"),
        ({"num_vq_embeddings": 2**24}, "more weights than the file contains"),
        ({"layers_per_block": 10**6}, "integers from 1 to 100"),
        ({"layers_per_block": True}, "Received: layers_per_block=True"),
        ({"in_channels": 0}, "Received: in_channels=0"),
        ({"scaling_factor": float("inf")}, "Received: scaling_factor=inf"),
        ({"scaling_factor": 10**400}, "Received: scaling_factor=1000"),
        ({"vq_embed_dim": 2.5}, "`latent_dim` must be a positive integer"),
        ({"mid_block_add_attention": "no"}, "`mid_block_add_attention` of the type of True"),
    ],
)
def test_configurations_of_wrong_types_and_sizes(source, change, message):
    config = {**json.loads((source / "config.json").read_text()), **change}
    with pytest.raises(ConversionError, match=message):
        keras_vq.from_pretrained(source, config)


def test_nothing_is_assigned_if_one_tensor_does_not_fit(source, monkeypatch):
    tensors = load_file(source / WEIGHTS)
    tensors["decoder.conv_out.bias"] = np.full(3, np.nan, "float32")
    tensors["encoder.conv_in.bias"] = np.zeros(5, "float32")
    tensors["decoder.surplus"] = tensors.pop("encoder.conv_out.bias")
    save_file(tensors, source / WEIGHTS)
    # Loaders have no way to return a model that they raise about, so assignments are counted.
    assigned = []
    monkeypatch.setattr("keras_vq.pretrained._tensors.Slot.assign", lambda *_: assigned.append(1))
    with pytest.raises(ConversionError) as raised:
        keras_vq.from_pretrained(source)
    assert str(raised.value).endswith(
        "missing: encoder.conv_out.bias; surplus: decoder.surplus; misshapen: "
        "encoder.conv_in.bias (5,) instead of (4,); not finite: decoder.conv_out.bias"
    )
    assert not assigned


# In a process, because the client reads its environment variables when it is imported.
DOWNLOAD = """
import json, sys
import numpy as np, keras_vq
path, *sources = sys.argv[1:]
found = []
for source in sources:
    model = keras_vq.from_pretrained(source)
    found.append(np.concatenate([np.ravel(weight) for weight in model.trainable_weights]))
    print(json.dumps(model.provenance))
np.save(path, found)
"""


def test_download(written, source, tmp_path, monkeypatch):
    from huggingface_hub import constants

    repository = tmp_path / "repository"
    for folder in ("vae", "other"):
        shutil.copytree(source, repository / folder)
    split(repository / "other")
    # Files that must not be downloaded.
    shutil.copytree(repository / "other", repository / "transformer")
    (repository / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"x")
    (repository / "old").mkdir()
    shutil.copy(repository / "vae" / "diffusion_pytorch_model.bin", repository / "old")
    (repository / "README.md").write_text("x")
    sources = [
        "hf://owner/name",
        "hf://owner/name/other",
        f"hf://owner/name@v1/vae/{WEIGHTS}",
    ]
    with serving(repository) as server:
        environment = {
            **os.environ,
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(tmp_path / "home"),
            "HF_TOKEN": server.token,
            "HF_HUB_OFFLINE": "0",
        }
        output = subprocess.run(
            [sys.executable, "-c", DOWNLOAD, str(tmp_path / "weights.npy"), *sources],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert sorted(server.downloaded) == sorted(
            [f"vae/{name}" for name in ("config.json", WEIGHTS)]
            + [f"other/{path.name}" for path in (repository / "other").iterdir()]
        )
        for place, weights in enumerate(np.load(tmp_path / "weights.npy")):
            np.testing.assert_array_equal(weights, written[1])
            assert json.loads(output.splitlines()[place])["source"] == sources[place]

        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "other home"))
        monkeypatch.setenv("HF_TOKEN", server.token)
        for text, message in (
            ("hf://owner/absent", "could not be downloaded.*RepositoryNotFoundError"),
            ("hf://owner/name@v9", "could not be downloaded.*RevisionNotFoundError"),
            ("hf://owner/name/old", "must be a safetensors file, because a pickle file can run"),
            ("hf://owner/name/absent", "must have one of absent/diffusion.*Received: no files"),
            ("hf://owner/name/last.ckpt", "'last.ckpt' must be a safetensors file"),
            ("hf://owner/na--me..", "could not be downloaded.*HFValidationError"),
            ("hf://owner", r"must be hf://owner/name"),
            ("hf://owner/name/../vae", r"must be hf://owner/name"),
        ):
            with pytest.raises(ConversionError, match=message):
                keras_vq.from_pretrained(text)
        monkeypatch.setenv("HF_TOKEN", "wrong")
        with pytest.raises(ConversionError, match="for private repositories the token"):
            keras_vq.from_pretrained("hf://owner/name")

    # Without the server, from the cache that the process has filled.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConversionError, match=r"could not be downloaded.*LocalEntryNotFoundError"):
        keras_vq.from_pretrained("hf://owner/name")
    cache = tmp_path / "home" / "hub"
    assert (cache / "models--owner--name" / "snapshots" / REVISION).is_dir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    check(written, "hf://owner/name")
