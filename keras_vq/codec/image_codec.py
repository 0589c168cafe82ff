"""Images to bytes and back, by a trained VQ-VAE."""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_vq import _backend, _validation
from keras_vq.codec import container, tiles
from keras_vq.codec.bit_packing import pack_codes, unpack_codes
from keras_vq.codec.container import CorruptFileError, Header
from keras_vq.codec.fingerprint import fingerprint
from keras_vq.codec.range_coding import RangeCoder, check_prior


class ImageCodec:
    """Compresses images of any size to the bytes of a `.kvq` file, and makes images of it again.

    Images are cut into tiles of the size that the VQ-VAE takes, the last row and column filled up
    with the images' last pixels. What the codes are decoded to is close to the images, no copy;
    the codes themselves come back exactly. Without a prior each code takes the bits of its
    codebook; with one, codes that it expects take fewer (arithmetic coding; needs the package
    constriction).

    A prior's probabilities must come out the same to the last bit where a file is read as where it
    was written: on the same backend, and as a rule on the same kind of machine with the same
    versions of keras_vq and the backend. Where they don't, `decompress` says so; packed files are
    read everywhere.

    Args:
        vqvae: A trained `VQVAE` of images of one size.
        prior: A fitted `PixelCNNPrior` or `TransformerPrior` of its codes; None to pack.
        batch_size: Tiles computed at a time.

    Raises:
        ValueError: If the model's shapes are not known, or the prior is not of its codes.

    Example:
        >>> import numpy as np, keras_vq
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
        >>> codec = keras_vq.codec.ImageCodec(model)
        >>> data = codec.compress([np.zeros((20, 11, 1), "float32")])
        >>> [image.shape for image in codec.decompress(data)]
        [(20, 11, 1)]
    """

    def __init__(self, vqvae: Any, prior: Any = None, batch_size: int = 128) -> None:
        shape: Any = tuple(getattr(vqvae, "image_shape", None) or ())
        grid: Any = tuple(getattr(vqvae, "code_shape", None) or ())
        if len(shape) != 3 or not grid or not all(isinstance(n, int) for n in (*shape, *grid)):
            raise ValueError(
                "`vqvae` must be a built VQVAE of images of one size. Received: "
                f"{type(vqvae).__name__} of images {shape} and codes {grid}"
            )
        self.vqvae, self.prior = vqvae, prior
        self.batch_size = _validation.check_positive_integer("batch_size", batch_size)
        self.tile_shape, self.channels = shape[:2], shape[2]
        self.grid_shape, self.codebook_sizes = grid, tuple(vqvae.codebook_sizes)
        if prior is not None:
            check_prior(prior, self.codebook_sizes, self.grid_shape)

    def compress(self, images: Any, names: Sequence[str] | None = None) -> bytes:
        """The bytes of a file with these images.

        With a prior the bytes are decoded again, in this process, before they are returned.

        Args:
            images: Array of shape `(n, height, width, channels)`, or a list of arrays of shape
                `(height, width, channels)`; pixels in [0, 1].
            names: A name for each, which `read_header` gives back.

        Raises:
            ValueError: If an image has other channels or values, or names are missing.
        """
        checked = [self._checked(index, image) for index, image in enumerate(images)]
        if not checked:
            raise ValueError("`images` must hold at least one image. Received: none")
        if names is not None and len(names) != len(checked):
            raise ValueError(
                f"`names` must have one for each of {len(checked)} images. Received: {len(names)}"
            )
        codes = self.vqvae.encode_to_codes(tiles.cut(checked, self.tile_shape), self.batch_size)
        header = Header(
            container.PACKED if self.prior is None else container.RANGE_CODED,
            fingerprint(self.vqvae),
            b"" if self.prior is None else fingerprint(self.prior),
            "" if self.prior is None else _backend.BACKEND,
            0 if self.prior is None else self.batch_size,
            _crc(codes),
            self.codebook_sizes,
            self.grid_shape,
            tuple((image.shape[0], image.shape[1]) for image in checked),
            tuple(names or ()),
        )
        payload = self._coded(codes)
        if self.prior is not None:
            self._codes_of(header, payload)
        return container.write_file(header, payload)

    def decompress(self, data: bytes) -> list[np.ndarray]:
        """The images of the bytes of a file.

        Args:
            data: What `compress` made with the same model and prior.

        Returns:
            For each image a float32 array of shape `(height, width, channels)`.

        Raises:
            CorruptFileError: If the bytes were changed or cut short.
            ValueError: If they were made with another model or prior, or the prior gives other
                probabilities here.
        """
        header, payload = self._read(data)
        made = self.vqvae.decode_codes(self._codes_of(header, payload), self.batch_size)
        return tiles.join(made, header.image_shapes)

    def decompress_codes(self, data: bytes) -> np.ndarray:
        """The codes of the tiles of a file, as `encode_to_codes` gave them.

        Args:
            data: See `decompress`.

        Returns:
            Int32 array of shape `(tiles, *code_shape)`.

        Raises:
            CorruptFileError: See `decompress`.
            ValueError: See `decompress`.
        """
        return self._codes_of(*self._read(data))

    def _read(self, data: bytes) -> tuple[Header, bytes]:
        """Header and payload of a file, if this codec can decode it."""
        header, payload = container.read_file(data)
        self._check_made_with(header)
        if (header.grid_shape, header.codebook_sizes) != (self.grid_shape, self.codebook_sizes):
            raise CorruptFileError(
                "The file has other codes than the model that it names. Received: shape "
                f"{header.grid_shape} below {header.codebook_sizes}, expected {self.grid_shape} "
                f"below {self.codebook_sizes}"
            )
        return header, payload

    def _codes_of(self, header: Header, payload: bytes) -> np.ndarray:
        """The codes of a payload, if they are those that the header has the CRC of."""
        n = sum(math.prod(tiles.tiles_across(s, self.tile_shape)) for s in header.image_shapes)
        codes: np.ndarray | None
        if header.coder == container.PACKED:
            count = n * math.prod(header.grid_shape)
            codes = unpack_codes(payload, count, header.codebook_sizes)
            codes = codes.reshape(n, *header.grid_shape)
        else:
            codes = RangeCoder(self.prior, header.batch_size).decode(payload, n)
        if codes is None or _crc(codes) != header.codes_crc:
            raise ValueError(
                "The prior gives other probabilities here than where the file was written, so that "
                "its codes are lost on the way: read it on that kind of machine, with those "
                f"versions. Received: a file written on {header.backend}, read on "
                f"{_backend.BACKEND}"
            )
        return codes

    def _checked(self, index: int, image: Any) -> np.ndarray:
        image = np.asarray(image)
        is_image = image.dtype.kind == "f" and image.ndim == 3 and 0 not in image.shape
        if not is_image or image.shape[-1] != self.channels:
            raise ValueError(
                f"`images` must be float arrays of shape (height, width, {self.channels}), 8-bit "
                "pixels divided by 255. "
                f"Received: {image.dtype} values of shape {image.shape} at {index}"
            )
        if not (image.min() >= 0 and image.max() <= 1):
            raise ValueError(
                "`images` must have pixels in [0, 1]. "
                f"Received: {image.min()} to {image.max()} at {index}"
            )
        return image.astype("float32")

    def _coded(self, codes: np.ndarray) -> bytes:
        if self.prior is None:
            return pack_codes(codes, self.codebook_sizes)
        return RangeCoder(self.prior, self.batch_size).encode(codes)

    def _check_made_with(self, header: Header) -> None:
        _check_weights("model", fingerprint(self.vqvae), "made", header.model)
        if header.coder == container.PACKED:
            return
        if self.prior is None:
            raise ValueError(
                "The file was coded with a prior, which is needed to read it. Received: "
                f"prior=None, expected one of weights {header.prior.hex()}"
            )
        _check_weights("prior", fingerprint(self.prior), "coded", header.prior)
        if header.backend != _backend.BACKEND:
            raise ValueError(
                "A file that was coded with a prior is read on the backend that wrote it: start "
                f"Keras on {header.backend} (--backend {header.backend}). "
                f"Received: {_backend.BACKEND}, expected {header.backend}"
            )


def _check_weights(of: str, received: bytes, how: str, expected: bytes) -> None:
    if received != expected:
        raise ValueError(
            f"The file was {how} with another {of}. Received: weights {received.hex()}, "
            f"expected {expected.hex()}"
        )


def _crc(codes: np.ndarray) -> int:
    return zlib.crc32(codes.astype("<i4").tobytes())
