"""Tests of untrusted model files: one error type, and limits checked before unpacking."""

import io
import json
import os
import re
import threading
import tracemalloc
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_vq
from keras_vq.models import ModelFileError, NonFiniteWeightsWarning


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Returns a dict of the members of a valid file."""
    encoder, decoder = keras_vq.networks.dense((4, 4, 1), units=(5,), latent_dim=4)
    model = keras_vq.Autoencoder(encoder, decoder)
    model.compile("adam")
    model.fit(np.zeros((4, 4, 4, 1), "float32"), verbose=0)
    path = tmp_path_factory.mktemp("file") / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def changed_config(members, change):
    """Returns the configuration after applying `change` to each dict in it."""

    def walk(value):
        if isinstance(value, dict):
            change(value)
        for inner in value.values() if isinstance(value, dict) else value:
            if isinstance(inner, (dict, list)):
                walk(inner)

    config = json.loads(members["config.json"])
    walk(config)
    return json.dumps(config)


def refused(path, message):
    """Checks that loading a file fails, with at most 50 MB of Python memory."""
    tracemalloc.start()
    with pytest.raises(ModelFileError, match=message) as error:
        keras_vq.load_model(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(path) in str(error.value)
    assert f"Received: a file of {os.path.getsize(path)} bytes" in str(error.value)
    assert len(str(error.value)) < 1500
    assert peak < 50e6


def test_a_compressed_file_is_loaded(members, tmp_path):
    model = keras_vq.load_model(written(tmp_path / "model.keras", members))
    assert model.decode(np.zeros((1, 4), "float32")).shape == (1, 4, 4, 1)
    assert model.compiled


CONFIGS = {
    "large": (b" " * (5 << 20) + b"{}", r"config.json has 5,242,882 uncompressed bytes, more than"),
    "deep": (b"[" * 100_000, "config.json is nested too deeply"),
    "deeper than allowed": (b'{"a":' + b"[" * 150 + b"]" * 150 + b"}", "more than 100 levels deep"),
    "no JSON": (b"{", r"config.json is not JSON \("),
    "a number": (b"9" * 5000, r"config.json is not JSON \(Exceeds the limit"),
    "no text": (b"\xff\xfe{}", "config.json is not JSON"),
    "no object": (b"null", "config.json is not a JSON object"),
    "empty": (b"{}", "could not be loaded: .*Error: "),
    "no class": (
        b'{"class_name": 3, "config": [], "module": {}}',
        "could not be loaded: .*Error: ",
    ),
    "unknown class": (
        b'{"class_name": "Unknown", "config": {}, "module": "unknown", "registered_name": "Own"}',
        "TypeError: Could not locate class 'Unknown'.*Import the module of its classes",
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_configurations(members, tmp_path, kind):
    config, message = CONFIGS[kind]
    refused(written(tmp_path / "model.keras", members | {"config.json": config}), message)


def test_a_metadata_file_that_is_too_deep(members, tmp_path):
    deep = members | {"metadata.json": b"[" * 100_000}
    refused(written(tmp_path / "model.keras", deep), "metadata.json is nested too deeply")


def test_members_that_unpack_to_much(members, tmp_path):
    large = members | {"model.weights.h5": bytes(100 << 20)}
    refused(
        written(tmp_path / "weights.keras", large),
        r"model.weights.h5 has 104,857,600 uncompressed bytes, more than 67,108,864",
    )
    many = members | {f"assets/{number}": bytes(40 << 20) for number in range(2)}
    refused(written(tmp_path / "sum.keras", many), r"all members has 83,\d\d\d,\d\d\d unc")
    # In addition to the four members of a saved file.
    names = members | {f"assets/{number}": b"" for number in range(1000)}
    refused(
        written(tmp_path / "names.keras", names), "the archive has 1,004 members, more than 1,000"
    )


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_tables_of_contents(members, tmp_path):
    path = written(tmp_path / "twice.keras", members)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", b"{}")
    refused(path, "a name occurs twice")
    path = written(tmp_path / "lzma.keras", members, zipfile.ZIP_LZMA)
    refused(path, "is encrypted or has an unsupported compression")
    path = written(tmp_path / "out.keras", members | {"assets/../../x": b""})
    refused(path, "has a path outside the archive")


def weights(change):
    """Returns an HDF5 weights file."""
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        change(made.create_group("layers/dense/vars"))
    return file.getvalue()


WEIGHTS = {
    "a shape without values": (
        lambda group: group.create_dataset("0", (10**6, 10**7), "float32", chunks=(1000, 1000)),
        r"declares shape \(1000000, 10000000\), but .* has only",
    ),
    "values of other files": (
        lambda group: group.create_dataset("0", (4,), "u1", external=[("/etc/passwd", 0, 4)]),
        "is not stored in the file",
    ),
    "texts": (
        lambda group: group.create_dataset("0", (4,), h5py.string_dtype()),
        "is not stored in the file",
    ),
}


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_weights(members, tmp_path, kind, compression):
    change, message = WEIGHTS[kind]
    changed = members | {"model.weights.h5": weights(change)}
    refused(written(tmp_path / "model.keras", changed, compression), message)


def test_no_weights_file_at_all(members, tmp_path):
    path = written(tmp_path / "model.keras", members | {"model.weights.h5": b"not HDF5"})
    refused(path, "not a complete `.keras` file")


def test_weights_of_a_configuration_are_not_allocated_beyond_the_file(members, tmp_path):
    def widen(value):
        if "units" in value:
            value["units"] = 10**9

    config = changed_config(members, widen)
    path = written(tmp_path / "model.keras", members | {"config.json": config})
    refused(path, "config.json declares more weights than the file contains")
    # The patched Keras method is restored.
    assert keras.Layer.add_weight.__module__.startswith("keras.")
    assert keras.layers.Dense(10)(np.zeros((1, 3), "float32")).shape == (1, 10)


def test_loading_in_threads(members, tmp_path):
    path = written(tmp_path / "model.keras", members)
    loaded = []
    threads = [
        threading.Thread(target=lambda: loaded.append(keras_vq.load_model(path))) for _ in range(4)
    ]
    original = keras.Layer.add_weight
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 4
    assert keras.Layer.add_weight is original


def test_code_does_not_run(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1)(inputs))
    path = tmp_path / "model.keras"
    model.save(path)
    refused(path, "Lambda.*safe_mode=False")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "fifo.keras")
    (tmp_path / "gone.keras").symlink_to("nowhere")
    for name in ("fifo.keras", "gone.keras"):
        with pytest.raises(
            ModelFileError,
            match=re.escape(f"existing `.keras` file. Received: {str(tmp_path / name)!r}"),
        ):
            keras_vq.load_model(tmp_path / name)


@pytest.mark.backend_free
@pytest.mark.parametrize("record", [b"[" * 100_000, b" " * (5 << 20), b"9" * 5000, b"null"])
def test_records_of_presets(members, tmp_path, record):
    written(tmp_path / "model.keras", members)
    (tmp_path / "preset.json").write_bytes(record)
    with pytest.raises(
        ValueError, match=r"preset.json' must be a JSON object. Copy the whole folder"
    ):
        keras_vq.Autoencoder.from_preset(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value, tmp_path):
    encoder, decoder = keras_vq.networks.dense((4, 4, 1), units=(5,), latent_dim=4)
    model = keras_vq.VQVAE(
        encoder, keras_vq.VectorQuantizer(codebook=keras_vq.EMACodebook(8)), decoder
    )
    codes = np.zeros((8, 4))
    codes[3, 1] = value
    embeddings = model.quantizer.codebook.embeddings
    embeddings.assign(codes)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(
        ModelFileError, match=r"Received: NaN or infinity in 1 .*codebook\w*/embeddings"
    ):
        keras_vq.load_model(tmp_path / "model.keras")
    with pytest.raises(ModelFileError, match="Received: NaN or infinity in"):
        model.save_to_preset(tmp_path / "preset")
    with pytest.warns(NonFiniteWeightsWarning, match=r"EMACodebook .*codebook\w*/embeddings"):
        keras.saving.load_model(tmp_path / "model.keras")
    embeddings.assign(np.zeros((8, 4)))
    with pytest.warns(NonFiniteWeightsWarning, match=r"VQVAE .*codebook\w*/embeddings"):
        model.load_weights(tmp_path / "model.weights.h5")
