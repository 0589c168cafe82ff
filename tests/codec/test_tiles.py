import numpy as np
import pytest

from keras_vq.codec import tiles

pytestmark = pytest.mark.backend_free


@pytest.mark.parametrize("shape", [(4, 6), (8, 12), (5, 6), (1, 1), (9, 13)])
def test_images_come_back(shape):
    rng = np.random.default_rng(0)
    images = [rng.random((*shape, 3)), rng.random((4, 6, 3))]
    cut = tiles.cut(images, (4, 6))
    down, across = tiles.tiles_across(shape, (4, 6))
    assert cut.shape == (down * across + 1, 4, 6, 3)
    for made, image in zip(tiles.join(cut, [shape, (4, 6)]), images, strict=True):
        assert np.array_equal(made, image)


def test_tiles_go_row_by_row_and_repeat_the_last_pixels():
    image = np.arange(12.0).reshape(3, 4, 1)
    first, second, third, _ = tiles.cut([image], (2, 2))[..., 0]
    assert first.tolist() == [[0, 1], [4, 5]]
    assert second.tolist() == [[2, 3], [6, 7]]
    assert third.tolist() == [[8, 9], [8, 9]]
