"""Tests of `read_image`."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_vq.data import read_image

pytestmark = pytest.mark.backend_free


@pytest.fixture
def color(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype="uint8")
    Image.fromarray(pixels).save(tmp_path / "color.png")
    return tmp_path / "color.png", pixels


def test_as_it_is(color):
    path, pixels = color
    image = read_image(path)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, (pixels / 255).astype("float32"))


def test_gray_stays_gray(tmp_path):
    Image.fromarray(np.full((2, 3), 51, "uint8")).save(tmp_path / "gray.png")
    image = read_image(str(tmp_path / "gray.png"))
    assert image.shape == (2, 3, 1)
    np.testing.assert_allclose(image, 0.2)


def test_in_the_shape_of_a_model(color):
    path, pixels = color
    image = read_image(path, (2, 2, 1))
    assert image.shape == (2, 2, 1)
    # Luma of ITU-R BT.601, as documented for mode L of Pillow.
    gray = pixels @ np.array([0.299, 0.587, 0.114]) / 255
    assert abs(image.mean() - gray.mean()) < 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_the_camera_noted(tmp_path, orientation):
    noise = np.random.default_rng(0).integers(0, 256, (3, 5, 3), "uint8")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise).save(tmp_path / "photo.png", exif=exif)
    with Image.open(tmp_path / "photo.png") as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    np.testing.assert_allclose(read_image(tmp_path / "photo.png"), expected / 255, atol=1e-6)


def test_broken_file(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with pytest.raises(ValueError, match=rf"could not be read .* Received: '{path}'"):
        read_image(path)


def test_in_its_own_size_with_the_channels_of_a_model(color):
    path, pixels = color
    assert read_image(path, (None, None, 1)).shape == (*pixels.shape[:2], 1)
    with pytest.raises(ValueError, match="both height and width"):
        read_image(path, (None, 8, 3))


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 2)])
def test_shapes_no_image_has(color, shape):
    with pytest.raises(ValueError, match="with 1 or 3 channels"):
        read_image(color[0], shape)
