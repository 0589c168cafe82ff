"""The file format `.kvq`: a header that says what is in it, and the coded codes.

    bytes   what
    4       "KVQ" and the version of the format
    4       CRC-32 of all that follows
    ...     the header: see `Header`; whole numbers in 7 bits a byte, least first (LEB128)
    ...     the payload, to the end of the file

Numbers longer than a byte are little-endian. A file with a flipped bit, or that ends early, has
another CRC.
"""

import json
import struct
import zlib
from typing import NamedTuple, Self

MAGIC = b"KVQ"
VERSION = 1
PACKED, RANGE_CODED = 0, 1
FINGERPRINT_BYTES = 8

# What no file of ours exceeds: a header can't ask for more memory than there is.
_MOST_IMAGES = 2**24
_MOST_PIXELS = 2**32
_MOST_BYTES_OF_NAMES = 2**28

_START = struct.Struct("<3sBI")


class CorruptFileError(ValueError):
    """What was read is no whole file of this format, or was changed."""


class Header(NamedTuple):
    """What a file holds, but for the codes.

    Attributes:
        coder: `PACKED` or `RANGE_CODED`.
        model: Fingerprint of the VQ-VAE that made the codes.
        prior: Fingerprint of the prior that they were coded with; empty if packed.
        backend: Name of the backend that computed the prior's probabilities; empty if packed.
        batch_size: Grids of codes that it computed at a time; 0 if packed.
        codes_crc: CRC-32 of the codes as little-endian int32.
        codebook_sizes: Number of codes of each level.
        grid_shape: Shape of the codes of one tile.
        image_shapes: (height, width) of each image.
        names: Name of each image; empty where they have none.

    Example:
        >>> import keras_vq
        >>> "image_shapes" in keras_vq.codec.Header._fields
        True
    """

    coder: int
    model: bytes
    prior: bytes
    backend: str
    batch_size: int
    codes_crc: int
    codebook_sizes: tuple[int, ...]
    grid_shape: tuple[int, ...]
    image_shapes: tuple[tuple[int, int], ...]
    names: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """The header as it stands in a file."""
        shapes = _runs(self.image_shapes)
        parts = [
            bytes([self.coder]),
            self.model,
            struct.pack("<I", self.codes_crc),
            _numbers(self.codebook_sizes),
            _numbers(self.grid_shape),
            _number(len(shapes)),
            *(b"".join(map(_number, run)) for run in shapes),
        ]
        if self.coder == RANGE_CODED:
            parts += [self.prior, _text(self.backend), _number(self.batch_size)]
        names = zlib.compress(json.dumps(self.names).encode(), 9) if self.names else b""
        return b"".join([*parts, _number(len(names)), names])

    @classmethod
    def from_reader(cls, reader: "_Reader") -> Self:
        """The header that `to_bytes` wrote."""
        coder = reader.take(1)[0]
        if coder not in (PACKED, RANGE_CODED):
            raise CorruptFileError(f"The file was coded by a coder that is unknown: {coder}")
        model = reader.take(FINGERPRINT_BYTES)
        (codes_crc,) = struct.unpack("<I", reader.take(4))
        codebook_sizes, grid_shape = reader.numbers(), reader.numbers()
        shapes: list[tuple[int, int]] = []
        for _ in range(reader.number()):
            count, height, width = reader.number(), reader.number(), reader.number()
            if len(shapes) + count > _MOST_IMAGES or not 0 < height * width <= _MOST_PIXELS:
                raise CorruptFileError(
                    f"The file's header names {count} images of {height} x {width} pixels"
                )
            shapes += [(height, width)] * count
        prior, backend, batch_size = b"", "", 0
        if coder == RANGE_CODED:
            prior = reader.take(FINGERPRINT_BYTES)
            backend = reader.take(reader.number()).decode()
            batch_size = reader.number()
            if batch_size == 0:
                raise CorruptFileError("The file's header names batches of no images")
        names = _unpacked_names(reader.take(reader.number()), len(shapes))
        return cls(
            coder,
            model,
            prior,
            backend,
            batch_size,
            codes_crc,
            codebook_sizes,
            grid_shape,
            tuple(shapes),
            names,
        )


def read_header(data: bytes) -> Header:
    """What a file holds, without decoding it.

    Args:
        data: The bytes of the file.

    Raises:
        CorruptFileError: If it is no file of this format, damaged, or cut short.

    Example:
        >>> import numpy as np, keras_vq
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
        >>> data = keras_vq.codec.ImageCodec(model).compress(np.zeros((3, 8, 8, 1), "float32"))
        >>> header = keras_vq.codec.read_header(data)
        >>> header.grid_shape, header.codebook_sizes, len(header.image_shapes)
        ((2, 2), (16,), 3)
    """
    return read_file(data)[0]


def write_file(header: Header, payload: bytes) -> bytes:
    """The bytes of a file."""
    rest = header.to_bytes() + payload
    return _START.pack(MAGIC, VERSION, zlib.crc32(rest)) + rest


def read_file(data: bytes) -> tuple[Header, bytes]:
    """Header and payload of the bytes of a file.

    Raises:
        CorruptFileError: If it is no file of this format, damaged, or cut short.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptFileError(
            'This is no .kvq file, which begins with "KVQ". '
            f"Received: {len(data)} bytes that begin with {data[:3]!r}"
        )
    if len(data) < _START.size:
        raise CorruptFileError(f"The file was cut short. Received: {len(data)} bytes")
    _, version, crc = _START.unpack_from(data)
    if version != VERSION:
        raise CorruptFileError(
            f"This keras_vq reads version {VERSION} of the format. Received: version {version}"
        )
    rest = data[_START.size :]
    if zlib.crc32(rest) != crc:
        raise CorruptFileError(
            "The file was changed or cut short: its checksum is another. Received: "
            f"CRC-32 {zlib.crc32(rest):08x} of {len(data)} bytes, expected {crc:08x}"
        )
    reader = _Reader(rest)
    try:
        return Header.from_reader(reader), reader.rest()
    except (struct.error, zlib.error, UnicodeDecodeError, json.JSONDecodeError) as error:
        # The CRC is right: somebody wrote it so.
        raise CorruptFileError(f"The file's header makes no sense ({error})") from error


class _Reader:
    """Takes a header apart, from front to back."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, count: int) -> bytes:
        if self.place + count > len(self.data):
            raise CorruptFileError(
                f"The file's header is cut short. Received: {len(self.data)} bytes after the CRC"
            )
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise CorruptFileError("The file's header has a number above 2³⁵")

    def numbers(self) -> tuple[int, ...]:
        return tuple(self.number() for _ in range(self.number()))

    def rest(self) -> bytes:
        return self.data[self.place :]


def _unpacked_names(packed: bytes, count: int) -> tuple[str, ...]:
    """A name for each image, or none."""
    if not packed:
        return ()
    # So that a few bytes can't ask for all memory.
    text = zlib.decompressobj().decompress(packed, _MOST_BYTES_OF_NAMES)
    names = json.loads(text)
    is_right = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_right or len(names) != count:
        raise CorruptFileError(f"The file's header has other than {count} names of images")
    return tuple(names)


def _number(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _numbers(values: tuple[int, ...]) -> bytes:
    return b"".join([_number(len(values)), *map(_number, values)])


def _text(text: str) -> bytes:
    return _number(len(text.encode())) + text.encode()


def _runs(shapes: tuple[tuple[int, int], ...]) -> list[tuple[int, int, int]]:
    """Images of one shape that follow each other as (count, height, width)."""
    runs: list[tuple[int, int, int]] = []
    for height, width in shapes:
        if runs and runs[-1][1:] == (height, width):
            runs[-1] = (runs[-1][0] + 1, height, width)
        else:
            runs.append((1, height, width))
    return runs
