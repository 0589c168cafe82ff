"""Splitting of images of any size into tiles of the input size of a model."""

from collections.abc import Sequence

import numpy as np


def tiles_across(image_shape: tuple[int, int], tile_shape: tuple[int, int]) -> tuple[int, int]:
    """Returns the number of rows and columns of tiles of an image."""
    (height, width), (tall, wide) = image_shape, tile_shape
    return -(-height // tall), -(-width // wide)


def cut(images: Sequence[np.ndarray], tile_shape: tuple[int, int]) -> np.ndarray:
    """Splits images into tiles in row-major order, with edge padding.

    Args:
        images: Sequence of arrays of shape `(height, width, channels)`.
        tile_shape: Tuple `(height, width)` of a tile.

    Returns:
        Array of shape `(n, *tile_shape, channels)`.
    """
    return np.concatenate([_cut_one(image, tile_shape) for image in images])


def _cut_one(image: np.ndarray, tile_shape: tuple[int, int]) -> np.ndarray:
    (height, width, channels), (tall, wide) = image.shape, tile_shape
    down, across = tiles_across((height, width), tile_shape)
    filled = ((0, down * tall - height), (0, across * wide - width), (0, 0))
    grid = np.pad(image, filled, mode="edge").reshape(down, tall, across, wide, channels)
    return grid.swapaxes(1, 2).reshape(-1, tall, wide, channels)


def join(tiles: np.ndarray, image_shapes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """Joins tiles of `cut` to images, without the padding.

    Args:
        tiles: Array of shape `(n, tile_height, tile_width, channels)`.
        image_shapes: Sequence of `(height, width)` of each image.

    Returns:
        List of arrays of shape `(height, width, channels)`.
    """
    _, tall, wide, channels = tiles.shape
    images, start = [], 0
    for height, width in image_shapes:
        down, across = tiles_across((height, width), (tall, wide))
        grid = tiles[start : start + down * across].reshape(down, across, tall, wide, channels)
        image = grid.swapaxes(1, 2).reshape(down * tall, across * wide, channels)
        images.append(image[:height, :width])
        start += down * across
    return images
