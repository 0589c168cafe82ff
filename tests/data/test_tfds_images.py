"""Tests of data sets prepared by TFDS: search, reading without TensorFlow, preparation."""

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_vq.data import load, tfds_images
from tests.needed import needed

pytestmark = [
    pytest.mark.backend_free,
    # TensorFlow and TFDS use deprecated functions of other packages.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(tensorflow|google|etils|absl).*"),
]

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 6, 3), dtype="uint8")


@pytest.fixture(scope="session")
def toy_builders():
    """Registers three small TFDS builders, one of them without images."""
    import tensorflow_datasets as tfds

    class ToyPictures(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        SIZES = [(4, 6)] * 7

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["even", "odd"]),
            }
            features = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(7), "test": self._generate_examples(3)}

        def _generate_examples(self, length):
            for number, (height, width) in enumerate(self.SIZES[:length]):
                image = IMAGES[number, :height, :width]
                yield number, {"image": image, "label": number % 2}

    class ToyRagged(ToyPictures):
        SIZES = [(4, 6)] * 5 + [(3, 6)] * 2

    class ToyTexts(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            raise AssertionError("not to be downloaded")

        def _generate_examples(self):
            yield 0, {"text": ""}

    class ToyOffline(ToyPictures):
        def _split_generators(self, dl_manager):
            raise ConnectionError("no network here")

    return tfds


@pytest.fixture(scope="session")
def prepared(toy_builders, tmp_path_factory):
    """Returns a function that prepares the toy data sets in a file format, and their folder."""
    folders = {}

    def prepare(file_format):
        if file_format not in folders:
            if file_format == "tfrecord":
                needed("tensorflow")  # TFDS needs it to write tfrecord
            folders[file_format] = tmp_path_factory.mktemp(file_format)
            for name in ("toy_pictures", "toy_ragged"):
                builder = toy_builders.builder(name, data_dir=folders[file_format])
                builder.download_and_prepare(file_format=file_format)
        return folders[file_format]

    return prepare


def run(code, **variables):
    """Runs code in a fresh process and returns the last line that it prints."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **variables}
    root = str(Path(tfds_images.__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_prepared_set(prepared, file_format):
    folder = prepared(file_format)
    assert any(file_format in path.name for path in folder.rglob("*train*"))
    dataset = load("toy_pictures", data_dir=folder)
    np.testing.assert_array_equal(dataset.pixels, IMAGES)
    assert dataset.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert dataset.class_names == ("even", "odd")
    assert (dataset.name, dataset.split) == ("toy_pictures", "train")
    assert len(load("toy_pictures", "test[:2]", data_dir=folder)) == 2


def test_a_program_that_makes_warnings_errors_can_read(real_sets, tmp_path):
    real("mnist", real_sets)
    code = """if True:
        import warnings, keras_vq
        warnings.filterwarnings("error", "label", DeprecationWarning)  # protobuf's
        print(len(keras_vq.data.load("mnist", "test[:10]", progress=False)))
    """
    assert run(code, TFDS_DATA_DIR=real_sets, KERAS_VQ_CACHE=str(tmp_path)) == "10"


def test_environment_variable_and_argument_for_the_folder(prepared, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared("array_record")))
    assert len(load("toy_pictures")) == 7
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert len(load("toy_pictures", data_dir=prepared("array_record"))) == 7
    assert list(tmp_path.iterdir()) == []


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tfds_images.tfds_folder() == tmp_path / "tensorflow_datasets"


def test_a_set_that_is_not_prepared_is_prepared_as_array_record(toy_builders, tmp_path):
    np.testing.assert_array_equal(load("toy_pictures", data_dir=tmp_path).pixels, IMAGES)
    info = json.loads((tmp_path / "toy_pictures" / "1.0.0" / "dataset_info.json").read_text())
    assert info["fileFormat"] == "array_record"


def test_a_set_that_cannot_be_prepared(toy_builders, tmp_path):
    with pytest.raises(ValueError, match="could not download and prepare") as caught:
        load("toy_offline", data_dir=tmp_path)
    message = str(caught.value)
    for part in ("'toy_offline'", str(tmp_path), "no network here", "TFDS_DATA_DIR"):
        assert part in message
    assert message.endswith("Received: 'toy_offline'")
    code = message.split('python -c "')[1].split('"')[0]
    with pytest.raises(ConnectionError, match="no network here"):
        exec(code)


def test_a_set_without_images_is_refused_before_it_is_downloaded(toy_builders, tmp_path):
    with pytest.raises(ValueError, match=r"image feature. Received: 'toy_texts' .* text"):
        load("toy_texts", data_dir=tmp_path)


def test_suggestions_know_tfds_and_the_folder(prepared, monkeypatch):
    with pytest.raises(ValueError, match="Did you mean 'toy_pictures'"):
        load("toy_picture", data_dir=prepared("array_record"))
    with pytest.raises(ValueError, match="Did you mean 'celeb_a'"):
        load("celeba_")


def test_unknown_split(prepared):
    with pytest.raises(ValueError, match=r"must be one of 'train', 'test'. Received: split='val'"):
        load("toy_pictures", "val", data_dir=prepared("array_record"))


def test_sizes_that_differ(prepared):
    folder = prepared("array_record")
    with pytest.raises(ValueError, match=r"image 0 of toy_ragged.* of 4x6 .*image 5 .* of 3x6"):
        load("toy_ragged", data_dir=folder)
    assert load("toy_ragged", data_dir=folder, image_size=(4, 6)).pixels.shape == IMAGES.shape


def test_versions_and_configurations(prepared, tmp_path):
    source = prepared("array_record") / "toy_pictures" / "1.0.0"
    top = tmp_path / "toy_pictures"
    for version in ("1.0.0", "9.0.0", "10.0.0"):
        shutil.copytree(source, top / version)
    find = tfds_images.find_prepared
    assert find("toy_pictures", tmp_path) == top / "10.0.0"
    assert find("toy_pictures:9.0.0", tmp_path) == top / "9.0.0"
    assert find("toy_pictures:2.0.0", tmp_path) is None
    assert find("other", tmp_path) is None

    (top / "11.0.0").mkdir()  # incomplete
    assert find("toy_pictures", tmp_path) == top / "10.0.0"

    top = tmp_path / "many"
    shutil.copytree(source, top / "big" / "1.0.0")
    assert find("many", tmp_path) == top / "big" / "1.0.0"
    shutil.copytree(source, top / "small" / "1.0.0")
    assert find("many/small", tmp_path) == top / "small" / "1.0.0"
    with pytest.raises(ValueError, match=r"many/big, many/small. Received: 'many'"):
        find("many", tmp_path)
    (top / ".config").mkdir()
    (top / ".config" / "metadata.json").write_text('{"default_config_name": "small"}')
    assert find("many", tmp_path) == top / "small" / "1.0.0"


@pytest.mark.parametrize("change", ["version", "info"])
def test_a_set_prepared_anew_is_read_anew(prepared, tmp_path, change):
    source = prepared("array_record") / "toy_pictures" / "1.0.0"
    folder = Path(shutil.copytree(source, tmp_path / "toy_pictures" / "1.0.0"))
    load("toy_pictures", data_dir=tmp_path)
    load("toy_pictures", data_dir=tmp_path)
    if change == "version":
        folder = folder.rename(folder.with_name("1.1.0"))
    else:
        info = json.loads((folder / "dataset_info.json").read_text())
        (folder / "dataset_info.json").write_text(json.dumps({**info, "description": "other"}))
    # Without records, reading fails unless the cache is used.
    for path in folder.glob("*array_record*"):
        path.unlink()
    with pytest.raises(Exception, match="array_record"):
        load("toy_pictures", data_dir=tmp_path)


def frame(data):
    return struct.pack("<QI", len(data), 0) + data + bytes(4)


def test_tfrecord_frames(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(frame(b"one") + frame(b"") + frame(b"three"))
    assert list(tfds_images.read_tfrecord(path)) == [b"one", b"", b"three"]


@pytest.mark.parametrize("missing", [1, 6, 20])
def test_a_tfrecord_file_cut_short_is_noticed(tmp_path, missing):
    path = tmp_path / "a.tfrecord"
    path.write_bytes((frame(b"one") + frame(b"three"))[:-missing])
    with pytest.raises(ValueError, match=r"is truncated.* Received: .*a.tfrecord"):
        list(tfds_images.read_tfrecord(path))


ABSENT = """
import importlib.machinery
find_spec = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, path=None, target=None: (
    None if name == "tensorflow" else find_spec(name, path, target)
)
"""
BLOCKED = """
import importlib.machinery, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        raise ImportError("tensorflow is blocked")
    def exec_module(self, module):
        raise ImportError("tensorflow is blocked")
sys.meta_path.insert(0, Blocked())
"""
READ = """
import sys
from keras_vq.data import load
train, test = load("toy_pictures"), load("toy_pictures", "test")
print(train.pixels.sum(), sys.modules.get("tensorflow") is not None)
"""


@pytest.mark.parametrize(
    ("backend", "how", "file_format"),
    [
        ("jax", "", "array_record"),
        ("jax", ABSENT, "array_record"),
        ("jax", BLOCKED, "array_record"),
        ("jax", ABSENT, "tfrecord"),
        ("torch", ABSENT, "array_record"),
    ],
    ids=["jax-installed", "jax-absent", "jax-blocked", "jax-absent-tfrecord", "torch-absent"],
)
def test_tensorflow_is_never_imported(prepared, backend, how, file_format):
    needed(backend)
    folder = str(prepared(file_format))
    assert run(how + READ, KERAS_BACKEND=backend, TFDS_DATA_DIR=folder) == f"{IMAGES.sum()} False"


def test_a_cached_set_needs_no_tfds(prepared):
    folder = str(prepared("array_record"))
    for split in ("train", "test"):
        load("toy_pictures", split, data_dir=folder)
    code = READ + "print([m for m in sys.modules if m.partition('_')[0] == 'tensorflow'])"
    assert run(code, KERAS_BACKEND="jax", TFDS_DATA_DIR=folder) == "[]"


# ---- real data sets


def real(name, folder):
    if tfds_images.find_prepared(name, Path(folder)) is None:
        pytest.skip(f"TFDS_DATA_DIR does not hold {name}")


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("shared_cache")


def test_mnist_is_the_official_one(real_sets, shared_cache):
    real("mnist", real_sets)
    from tensorflow_datasets.core.hashing import Hasher

    dataset = load("mnist", data_dir=real_sets, cache_dir=shared_cache)
    assert dataset.pixels.shape == (60_000, 28, 28, 1)
    # TFDS orders images by a hash of their original index; restore the original order.
    hashes = Hasher("train")
    numbers = sorted(range(60_000), key=hashes.hash_key)
    official, labels = np.empty_like(dataset.pixels), np.empty_like(dataset.labels)
    official[numbers], labels[numbers] = dataset.pixels, dataset.labels
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    idx3 = struct.pack(">4I", 0x00000803, 60_000, 28, 28) + official.tobytes()
    assert hashlib.md5(idx3).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"


def test_mnist_is_not_decoded_a_second_time(real_sets, shared_cache, capsys, monkeypatch):
    real("mnist", real_sets)
    load("mnist", data_dir=real_sets, cache_dir=shared_cache, progress=False)
    capsys.readouterr()
    monkeypatch.setattr("keras_vq.data.decoding.decode", None)
    dataset = load("mnist", "train[:1000]", data_dir=real_sets, cache_dir=shared_cache)
    assert isinstance(dataset.pixels, np.memmap)
    assert len(dataset) == 1000
    assert capsys.readouterr() == ("", "")


def test_cifar10(real_sets, shared_cache):
    real("cifar10", real_sets)
    dataset = load("cifar10", "test", data_dir=real_sets, cache_dir=shared_cache)
    assert dataset.pixels.shape == (10_000, 32, 32, 3)
    assert np.bincount(dataset.labels).tolist() == [1000] * 10
    assert dataset.class_names[0] == "airplane"
    means = dataset.pixels.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(means, [125.3, 122.9, 113.9], atol=2)
