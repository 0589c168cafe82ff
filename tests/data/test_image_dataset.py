"""Tests of ImageDataset: attributes, methods and invalid arguments."""

import numpy as np
import pytest

from keras_vq.data import ImageDataset

pytestmark = pytest.mark.backend_free


@pytest.fixture
def dataset():
    pixels = np.arange(4 * 2 * 3 * 1, dtype="uint8").reshape(4, 2, 3, 1)
    names = ["even", "odd"]
    return ImageDataset(pixels, [0, 1, 0, 1], names, name="toy", split="train[:4]")


def test_attributes(dataset):
    assert dataset.pixels.shape == (4, 2, 3, 1)
    assert dataset.pixels.dtype == np.uint8
    assert dataset.labels.dtype == np.int32
    assert dataset.labels.tolist() == [0, 1, 0, 1]
    assert dataset.class_names == ("even", "odd")
    assert (dataset.name, dataset.split) == ("toy", "train[:4]")
    assert dataset.image_shape == (2, 3, 1)
    assert len(dataset) == 4


def test_repr(dataset):
    assert repr(dataset) == "<ImageDataset toy, train[:4]: 4 images of 2x3x1, 2 classes>"
    assert "no labels" in repr(ImageDataset(dataset.pixels))
    assert repr(ImageDataset(dataset.pixels, dataset.labels)).endswith("2x3x1, labels>")


def test_arrays_are_read_only_and_the_given_ones_stay_writable():
    pixels, labels = np.zeros((2, 1, 1, 1), "uint8"), np.zeros(2, "int32")
    dataset = ImageDataset(pixels, labels)
    for array in (dataset.pixels, dataset.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    pixels[0], labels[0] = 1, 1


def test_images_are_float32_from_0_to_1():
    dataset = ImageDataset(np.array([0, 51, 255], "uint8").reshape(3, 1, 1, 1))
    assert dataset.images.dtype == np.float32
    np.testing.assert_array_equal(np.ravel(dataset.images), np.float32([0, 0.2, 1]))


def test_take(dataset):
    taken = dataset.take(3)
    np.testing.assert_array_equal(taken.pixels, dataset.pixels[:3])
    assert taken.labels.tolist() == [0, 1, 0]
    assert (taken.class_names, taken.name) == (dataset.class_names, "toy")
    assert np.shares_memory(taken.pixels, dataset.pixels)
    assert len(dataset.take(100)) == 4
    assert ImageDataset(dataset.pixels).take(2).labels is None
    with pytest.raises(ValueError, match=r"positive integer. Received: 0"):
        dataset.take(0)


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 3, 3), "uint8"), np.zeros((2, 3, 3, 1), "float32"), [[1]]]
)
def test_wrong_pixels_raise(pixels):
    with pytest.raises(ValueError, match=r"uint8 array of shape .* Received: "):
        ImageDataset(pixels)


@pytest.mark.parametrize("labels", [[0], [0.5, 1.5]])
def test_wrong_labels_raise(labels):
    with pytest.raises(ValueError, match=r"`labels` must be one integer per image.* Received: "):
        ImageDataset(np.zeros((2, 1, 1, 1), "uint8"), labels)
