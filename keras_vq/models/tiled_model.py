"""Inference on large images in overlapping tiles."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_vq import _validation
from keras_vq._inputs import as_array


class TiledModel:
    """Encoding and decoding of large images in overlapping tiles, at constant memory.

    The memory for activations is that of one tile, for images of any size. Decoded images and float
    latents are blended linearly over the middle half of each overlap; the code of a position is
    that of the tile whose borders are farthest. Tiles at the border of an image end there, so that
    its padding is the same.

    The result equals that of the model on whole images if the outputs of its networks depend on
    positions up to a quarter of the overlap away, as those of small convolutional networks. Group
    normalization and attention, as in `networks.latent_diffusion`, depend on whole images: tiles
    then have other values than whole images, and blending prevents seams.

    Args:
        model: A built model of images, with one code or latent vector per position of a grid.
        tile_shape: Tuple. (height, width) of a tile in pixels. Defaults to `None`, for the input
            shape of the model, or (256, 256) if it takes any size.
        overlap: Integer. Overlap of adjacent tiles in pixels: a multiple of the strides of the
            encoder, and at most half of a tile. Defaults to `None`, for a quarter of a tile.

    Raises:
        ValueError: If the model has no grid of codes or latents, or an argument is out of range.

    Example:
        >>> import numpy as np, keras_vq
        >>> pair = keras_vq.networks.tiny_autoencoder(filters=8)
        >>> model = keras_vq.models.TiledModel(keras_vq.Autoencoder(*pair), (64, 64), overlap=32)
        >>> latents = model.encode(np.zeros((1, 160, 96, 3), "float32"))
        >>> latents.shape, model.decode(latents).shape
        ((1, 20, 12, 4), (1, 160, 96, 3))
    """

    def __init__(
        self,
        model: Any,
        tile_shape: Sequence[int] | None = None,
        overlap: int | None = None,
    ) -> None:
        shape = getattr(model, "input_shape", None)
        if shape is None or len(shape) != 4:
            raise ValueError(
                "`model` must be a built model of images. "
                f"Received: {type(model).__name__} with input shape {shape}"
            )
        self.model = model
        if tile_shape is None:
            tile_shape = [size or 256 for size in shape[1:3]]
        self.tile_shape = tuple(
            _validation.check_positive_integer("tile_shape[...]", size) for size in tile_shape
        )
        if len(self.tile_shape) != 2 or any(
            fixed not in (None, size)
            for fixed, size in zip(shape[1:3], self.tile_shape, strict=False)
        ):
            raise ValueError(
                "`tile_shape` must be (height, width) of inputs of the model. "
                f"Received: {self.tile_shape} for input shape {shape[1:]}"
            )
        grid = model.encoder.compute_output_shape((1, *self.tile_shape, shape[3]))
        if not isinstance(grid, tuple) or len(grid) != 4:
            raise ValueError(
                "`model` must have an encoder with one grid of latents. "
                f"Received: latents of shape {grid}"
            )
        if any(size % cells for size, cells in zip(self.tile_shape, grid[1:3], strict=True)):
            raise ValueError(
                "`tile_shape` must be a multiple of the strides of the encoder. "
                f"Received: {self.tile_shape} for latents of shape {grid[1:3]}"
            )
        self.strides = tuple(
            size // cells for size, cells in zip(self.tile_shape, grid[1:3], strict=True)
        )
        if overlap is None:
            overlap = min(
                size // 4 // step * step
                for size, step in zip(self.tile_shape, self.strides, strict=True)
            )
        self.overlap = _validation.check_count("overlap", overlap)
        if any(self.overlap % step for step in self.strides) or 2 * self.overlap > min(
            self.tile_shape
        ):
            raise ValueError(
                f"`overlap` must be a multiple of the strides {self.strides}, and at most half of "
                f"the tile {self.tile_shape}. Received: {overlap}"
            )

    def encode(self, images: Any, batch_size: int = 4) -> np.ndarray:
        """Encodes images to codes or latents.

        Args:
            images: Array of shape `(n, height, width, channels)`. The strides of the encoder must
                divide height and width.
            batch_size: Integer. Number of images whose tiles are encoded at a time. Defaults to 4.

        Returns:
            Array of codes or latents of shape `(n, height / stride, width / stride, ...)`.

        Raises:
            ValueError: If the strides do not divide the image size.
        """
        images = as_array("images", images)
        if len(images.shape) != 4 or any(
            size % step for size, step in zip(images.shape[1:3], self.strides, strict=True)
        ):
            raise ValueError(
                f"`images` must have a height and width that {self.strides} divide. Crop or pad "
                f"the images. Received: shape {tuple(images.shape)}"
            )
        return self._tiled(self.model.encode, images, (1, 1), self.strides, batch_size)

    def decode(self, latents: Any, batch_size: int = 4) -> np.ndarray:
        """Decodes codes or latents to images.

        Args:
            latents: Array of the form that `encode` returns.
            batch_size: Integer. Number of images whose tiles are decoded at a time. Defaults to 4.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.
        """
        latents = as_array("latents", latents)
        return self._tiled(self.model.decode, latents, self.strides, (1, 1), batch_size)

    def reconstruct(self, images: Any, batch_size: int = 4) -> np.ndarray:
        """Reconstructs images: `decode(encode(images))`."""
        return self.decode(self.encode(images, batch_size), batch_size)

    def _tiled(
        self,
        function: Callable[..., np.ndarray],
        inputs: Any,
        input_steps: tuple[int, ...],
        output_steps: tuple[int, ...],
        batch_size: int,
    ) -> np.ndarray:
        """Applies a function to each tile, and joins the results.

        Args:
            function: Function of an array and `batch_size`.
            inputs: Array of shape `(n, height, width, ...)`.
            input_steps: Pixels per position of the inputs, along each axis.
            output_steps: Pixels per position of the outputs.
            batch_size: Integer.
        """
        axes = [
            _axis(size * read, tile, self.overlap, written)
            for size, read, tile, written in zip(
                inputs.shape[1:3], input_steps, self.tile_shape, output_steps, strict=True
            )
        ]
        outputs: Any = None
        for vertical, horizontal in itertools.product(*axes):
            rows, columns = (
                slice(part.start // read, part.stop // read)
                for part, read in zip((vertical, horizontal), input_steps, strict=True)
            )
            tile = function(inputs[:, rows, columns], batch_size=batch_size)
            if tile.shape[1:3] != (len(vertical.weights), len(horizontal.weights)):
                raise ValueError(
                    "`model` must have one code or latent vector per position of a grid. "
                    f"Received: a model with codes of shape {tile.shape[1:]}"
                )
            if outputs is None:
                sizes = [
                    axis[-1].stop // written
                    for axis, written in zip(axes, output_steps, strict=True)
                ]
                outputs = np.zeros((len(tile), *sizes, *tile.shape[3:]), tile.dtype)
            rows, columns = (
                slice(part.start // written, part.stop // written)
                for part, written in zip((vertical, horizontal), output_steps, strict=True)
            )
            target = outputs[:, rows, columns]
            has_codes = np.issubdtype(tile.dtype, np.integer)
            first, second = (
                part.is_farthest if has_codes else part.weights for part in (vertical, horizontal)
            )
            factor = np.multiply.outer(first, second)
            factor = factor.reshape(factor.shape + (1,) * (tile.ndim - 3))
            if has_codes:
                np.copyto(target, tile, where=factor)
            else:
                target += factor * tile
        return outputs


class _Part(NamedTuple):
    """Tile along one axis: pixels from start to stop, and two values per output position."""

    start: int
    stop: int
    # Share of the tile in a blended output. The shares of all tiles add up to one.
    weights: np.ndarray
    # Whether the borders of all other tiles are nearer.
    is_farthest: np.ndarray


def _axis(size: int, tile: int, overlap: int, step: int) -> list[_Part]:
    """Returns the tiles along one axis of an image.

    Args:
        size: Integer. Pixels of the image.
        tile: Integer. Pixels of a tile.
        overlap: Integer. Pixels in which adjacent tiles overlap. The last two may overlap more.
        step: Integer. Pixels per output position.
    """
    tile = min(tile, size)
    starts = np.array([*range(0, size - tile, tile - overlap), size - tile])[:, None]
    centers = (np.arange(size // step) + 0.5) * step
    # Distances to the borders of a tile, without those of the image.
    before = np.where(starts > 0, centers - starts, np.inf)
    after = np.where(starts + tile < size, starts + tile - centers, np.inf)
    distances = np.minimum(before, after)
    ramps = (distances - overlap / 4) / (overlap / 2) if overlap else np.sign(distances)
    shares = np.clip(ramps, 0, 1)
    shares = (shares / shares.sum(0)).astype("float32")
    farthest = distances.argmax(0) == np.arange(len(starts))[:, None]
    return [
        _Part(
            start,
            start + tile,
            *(part[place, start // step : (start + tile) // step] for part in (shares, farthest)),
        )
        for place, start in enumerate(starts[:, 0].tolist())
    ]
