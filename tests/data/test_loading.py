"""Tests of `data.load`: digits, names, and errors common to all sources."""

import subprocess
import sys

import numpy as np
import pytest
import sklearn.datasets

from keras_vq.data import load

pytestmark = pytest.mark.backend_free


def test_importing_is_cheap_and_tells_which_libraries_it_needs_only_later():
    code = (
        "import sys, keras; before = set(sys.modules); import keras_vq.data; "
        "print([m for m in ('tensorflow_datasets', 'sklearn', 'PIL', 'rich.progress', "
        "'array_record') if m in set(sys.modules) - before])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_digits_are_scikit_learns_scaled_to_8_bits():
    raw = sklearn.datasets.load_digits()
    train, test = load("digits"), load("digits", "test")
    assert (len(train), len(test)) == (1437, 360)
    pixels = np.concatenate([train.pixels, test.pixels])
    np.testing.assert_array_equal(pixels[..., 0], np.round(raw.images * 255 / 16))
    assert (pixels.min(), pixels.max()) == (0, 255)
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), raw.target)
    assert train.class_names == tuple("0123456789")
    assert train.image_shape == (8, 8, 1)


def test_dataset_from_load():
    dataset = load("digits", "train[:10%]")
    assert (dataset.name, dataset.split, len(dataset)) == ("digits", "train[:10%]", 144)
    assert isinstance(dataset.pixels, np.memmap)
    assert not dataset.pixels.flags.writeable
    assert dataset.labels.shape == (144,)
    assert not dataset.labels.flags.writeable
    assert dataset.images.max() == 1


@pytest.mark.parametrize(
    ("split", "part"),
    [
        ("train[:1000]", slice(1000)),
        ("train[10%:20%]", slice(144, 287)),
        ("train[-100:]", slice(-100, None)),
    ],
)
def test_slices_select_from_the_full_split(cache_dir, split, part):
    full, sliced = load("digits"), load("digits", split)
    np.testing.assert_array_equal(sliced.pixels, full.pixels[part])
    np.testing.assert_array_equal(sliced.labels, full.labels[part])
    assert len(list(cache_dir.iterdir())) == 1


def test_image_size_resizes_any_set():
    assert load("digits", "test", image_size=(16, 12)).image_shape == (16, 12, 1)
    assert load("digits", "test").image_shape == (8, 8, 1)


def test_unknown_split_of_the_digits():
    with pytest.raises(ValueError, match=r"must be one of 'train', 'test'. Received: "):
        load("digits", "validation")


@pytest.mark.parametrize("image_size", [28, (28,), (0, 28), (28.5, 28), "28"])
def test_bad_image_size(image_size):
    with pytest.raises(ValueError, match=r"\(height, width\).* Received: "):
        load("digits", image_size=image_size)


@pytest.mark.parametrize("name", ["", None, 3])
def test_bad_name(name):
    with pytest.raises(ValueError, match=r"name of a data set or a folder. Received: "):
        load(name)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mnits", "'mnist'"),
        ("cifar_10", r"'cifar10'\?"),
        ("cifar-10", r"'cifar10'\?"),
        ("Fashion-MNIST", r"'fashion_mnist'\?"),
        ("Digits", "'digits'"),
    ],
)
def test_unknown_name_suggests_near_ones(name, near):
    with pytest.raises(ValueError, match=f"Did you mean .*{near}.* Received: '{name}'$"):
        load(name)


def test_unknown_name_without_a_near_one():
    with pytest.raises(ValueError, match=r"existing folder of image files. Received: 'qqqqqqqq'$"):
        load("qqqqqqqq")


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow-datasets"):
        load("mnist")
