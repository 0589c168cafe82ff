"""Image compression with a trained VQ-VAE."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_vq import _validation, backend
from keras_vq._fingerprint import fingerprint
from keras_vq.codec import container, tiles
from keras_vq.codec.bit_packing import pack_codes
from keras_vq.codec.container import CorruptFileError, Header
from keras_vq.codec.range_coding import RangeCoder, check_prior

DEFAULT_MAX_PIXELS = 2**28
"""Largest number of pixels of a file that `ImageCodec.decompress` accepts by default."""


class ImageCodec:
    """Lossy image codec with a VQ-VAE and an optional prior, for images of any size.

    Images are split into tiles of the input size of the VQ-VAE, padded with their last row and
    column, and encoded to the codes of a `.kvq` file. Codes are restored exactly; images are
    reconstructions by the VQ-VAE. Without a prior, a code of a codebook of K codes takes ⌈log₂ K⌉
    bits. With a prior, codes are range-coded with its probabilities, so likely codes take fewer
    bits. This requires the package constriction.

    Decoding with a prior requires probabilities that are equal to the last bit, which requires the
    same backend and usually the same kind of machine and the same versions of keras_vq and the
    backend. `decompress` raises an error if they differ. Files without a prior have no such
    requirement.

    Args:
        vqvae: Trained `VQVAE` with a fixed image size.
        prior: Fitted `PixelCNNPrior` or `TransformerPrior` of its codes, without condition.
            Defaults to None, which packs codes.
        batch_size: Integer. Batch size of the VQ-VAE, in tiles. The batch size of the prior is the
            largest power of two in [16, 1024] that does not exceed it, or 16, and is stored in the
            file. Defaults to 128.
        max_pixels: Integer. Largest number of pixels per file, with all images padded to whole
            tiles. Larger files are refused before decoding, and are not written. An RGB pixel takes
            about 24 bytes of memory. Defaults to 2**28.
        model_origin: String. Description of the source of the model, stored in each file for
            readers without the model. At most 64 bytes of UTF-8. Defaults to `""`.
        prior_origin: String. Description of the source of the prior, like `model_origin`. Defaults
            to `""`.

    Raises:
        ValueError: If `vqvae` has no fixed image size, or `prior` does not match its codes.

    Example:
        >>> import numpy as np, keras_vq
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
        >>> codec = keras_vq.codec.ImageCodec(model)
        >>> data = codec.compress([np.zeros((20, 11, 1), "float32")])
        >>> [image.shape for image in codec.decompress(data)]
        [(20, 11, 1)]
    """

    def __init__(
        self,
        vqvae: Any,
        prior: Any = None,
        batch_size: int = 128,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        model_origin: str = "",
        prior_origin: str = "",
    ) -> None:
        shape: Any = tuple(getattr(vqvae, "input_shape", None) or ())[1:]
        grid: Any = tuple(getattr(vqvae, "code_shape", None) or ())
        if len(shape) != 3 or not grid or not all(isinstance(n, int) for n in (*shape, *grid)):
            raise ValueError(
                "`vqvae` must be a built VQVAE with a fixed image size. Received: "
                f"{type(vqvae).__name__} with image shape {shape} and code shape {grid}"
            )
        self.vqvae, self.prior = vqvae, prior
        self.batch_size = _validation.check_positive_integer("batch_size", batch_size)
        self.max_pixels = _validation.check_positive_integer("max_pixels", max_pixels)
        self.model_origin = _checked_text("model_origin", model_origin, container.MAX_ORIGIN_BYTES)
        self.prior_origin = _checked_text("prior_origin", prior_origin, container.MAX_ORIGIN_BYTES)
        self.tile_shape, self.channels = shape[:2], shape[2]
        self.grid_shape, self.codebook_sizes = grid, tuple(vqvae.codebook_sizes)
        if prior is not None:
            check_prior(prior, self.codebook_sizes, self.grid_shape)

    def compress(self, images: Any, names: Sequence[str] | None = None) -> bytes:
        """Compresses images to the bytes of a file.

        With a prior, the codes are decoded once in this process to verify the file.

        Args:
            images: Float array of shape `(n, height, width, channels)`, or a list of arrays of
                shape `(height, width, channels)`, with pixels in [0, 1].
            names: Sequence of strings. Name of each image, returned by `read_header`. At most 1023
                bytes of UTF-8 each. Defaults to None.

        Returns:
            Bytes of a `.kvq` file.

        Raises:
            ValueError: If an image has invalid channels or values, the number of names differs or a
                name is too long, or there are too many images or pixels for one file.
        """
        checked = [self._checked(index, image) for index, image in enumerate(images)]
        if not checked:
            raise ValueError("`images` must contain at least one image. Received: none")
        if names is not None and len(names) != len(checked):
            raise ValueError(
                f"`names` must have one name per image, {len(checked)}. Received: {len(names)}"
            )
        if len(checked) > container.MAX_IMAGES:
            raise ValueError(
                f"`images` must have at most {container.MAX_IMAGES:,} images. Write several files. "
                f"Received: {len(checked):,}"
            )
        header = self._header(checked, names)
        self._check_pixels(header)
        codes = self.vqvae.encode(tiles.cut(checked, self.tile_shape), self.batch_size)
        header = header.with_crc_of(codes)
        payload = self._coded(codes, header.batch_size).ljust(
            container.shortest_payload(header), b"\0"
        )
        data = container.write_file(header, payload)
        # Verify that the file can be decoded.
        container.read_file(data)
        if self.prior is not None:
            self._codes_of(header, payload)
        return data

    def decompress(self, data: bytes) -> list[np.ndarray]:
        """Decompresses the images of a file.

        Args:
            data: Bytes of a file that was written with the same model and prior.

        Returns:
            List of float32 arrays of shape `(height, width, channels)`.

        Raises:
            CorruptFileError: If the file is damaged or truncated.
            ValueError: If the file was written with another model, prior or backend, the
                probabilities of the prior differ, or the images have more than `max_pixels` pixels.
        """
        header, payload = self._read(data)
        made = self.vqvae.decode(self._codes_of(header, payload), self.batch_size)
        return tiles.join(made, header.image_shapes)

    def decompress_codes(self, data: bytes) -> np.ndarray:
        """Decodes a file to the codes of its tiles, without reconstructing the images.

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
        """Reads a file and checks that it was written with this model and prior."""
        header, payload = container.read_file(data)
        self._check_made_with(header)
        for what, received, expected in (
            ("code shape", header.grid_shape, self.grid_shape),
            ("codebook sizes", header.codebook_sizes, self.codebook_sizes),
            ("tile shape", header.tile_shape, self.tile_shape),
            ("channels", header.channels, self.channels),
        ):
            if received != expected:
                raise CorruptFileError(
                    f"The {what} of the file must be those of the model. "
                    f"Received: {received}. Expected: {expected}"
                )
        self._check_pixels(header)
        return header, payload

    def _header(self, images: list[np.ndarray], names: Sequence[str] | None) -> Header:
        """Creates the header of a file with these images; the checksum of the codes is 0."""
        coded = self.prior is not None
        most = container.MAX_NAME_BYTES
        checked = tuple(_checked_text("names[...]", name, most) for name in names or ())
        if sum(len(name.encode()) for name in checked) > container.MAX_NAMES_BYTES:
            raise ValueError(
                f"`names` must have at most {container.MAX_NAMES_BYTES:,} bytes in total. Write "
                "several files."
            )
        sizes = [size for size in container.BATCH_SIZES if size <= self.batch_size]
        return Header(
            container.RANGE_CODED if coded else container.PACKED,
            fingerprint(self.vqvae),
            fingerprint(self.prior) if coded else b"",
            backend.NAME if coded else "",
            max(sizes, default=container.BATCH_SIZES[0]) if coded else 0,
            0,
            self.codebook_sizes,
            self.grid_shape,
            tuple((image.shape[0], image.shape[1]) for image in images),
            checked,
            self.tile_shape,
            self.channels,
            self.model_origin,
            self.prior_origin if coded else "",
        )

    def _check_pixels(self, header: Header) -> None:
        if header.pixels > self.max_pixels:
            raise ValueError(
                f"The images of the file must have at most {self.max_pixels:,} pixels in whole "
                "tiles. To decode larger files, increase `max_pixels`. "
                f"Received: {header.pixels:,} pixels"
            )

    def _codes_of(self, header: Header, payload: bytes) -> np.ndarray:
        """Decodes the codes of a payload and verifies their checksum."""
        n = header.tiles
        codes: np.ndarray | None
        if header.coder == container.PACKED:
            codes = container.unpacked(header, payload)
        else:
            codes = RangeCoder(self.prior, header.batch_size).decode(payload, n)
        if codes is not None and header.with_crc_of(codes) == header:
            return codes
        if header.coder == container.PACKED:
            raise CorruptFileError(
                "The file is damaged: the checksum of the codes does not match. "
                f"Received: {len(payload)} bytes of packed codes"
            )
        raise ValueError(
            "The checksum of the codes does not match. Either the prior computes other "
            "probabilities than on the machine that wrote the file, or the file is damaged. Decode "
            "the file on the same type of machine with the same package versions. Received: a file "
            f"written on {header.backend}, decoded on {backend.NAME}"
        )

    def _checked(self, index: int, image: Any) -> np.ndarray:
        image = np.asarray(image)
        is_image = image.dtype.kind == "f" and image.ndim == 3 and 0 not in image.shape
        if not is_image or image.shape[-1] != self.channels:
            raise ValueError(
                f"`images` must be float arrays of shape (height, width, {self.channels}). Divide "
                "8-bit pixels by 255. "
                f"Received: {image.dtype} values of shape {image.shape} at index {index}"
            )
        if not (image.min() >= 0 and image.max() <= 1):
            raise ValueError(
                "`images` must have pixels in [0, 1]. "
                f"Received: {image.min()} to {image.max()} at index {index}"
            )
        return image.astype("float32")

    def _coded(self, codes: np.ndarray, batch_size: int) -> bytes:
        if self.prior is None:
            return pack_codes(codes, self.codebook_sizes)
        return RangeCoder(self.prior, batch_size).encode(codes)

    def _check_made_with(self, header: Header) -> None:
        _check_weights("model", fingerprint(self.vqvae), header.model, header.model_origin)
        if header.coder == container.PACKED:
            return
        if self.prior is None:
            raise ValueError(
                "`prior` must be the prior with which the file was compressed. Received: "
                f"prior=None. Expected: {_origin(header.prior, header.prior_origin)}"
            )
        _check_weights("prior", fingerprint(self.prior), header.prior, header.prior_origin)
        if header.backend != backend.NAME:
            raise ValueError(
                "A file compressed with a prior must be decoded on the same backend. Set "
                f"KERAS_BACKEND={header.backend} (--backend {header.backend}). "
                f"Received: {backend.NAME}"
            )


def _check_weights(of: str, received: bytes, expected: bytes, origin: str) -> None:
    if received != expected:
        raise ValueError(
            f"The file was compressed with another {of}. Received: fingerprint {received.hex()}. "
            f"Expected: {_origin(expected, origin)}"
        )


def _origin(weights: bytes, origin: str) -> str:
    """Describes a fingerprint, with the origin stored in the file, for error messages."""
    return f"fingerprint {weights.hex()}" + (f" (recorded name: {origin!r})" if origin else "")


def _checked_text(name: str, text: Any, most: int) -> str:
    try:
        size = len(text.encode())
    except (AttributeError, UnicodeEncodeError):
        size = most + 1
    if size > most:
        raise ValueError(
            f"`{name}` must be a string of at most {most} bytes in UTF-8. Received: {text!r}"
        )
    return str(text)
