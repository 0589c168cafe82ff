"""File format `.kvq`, version 2, as specified in `docs/compression.md`.

All sizes in a header are checked against the length of the file or a constant before memory is
allocated. Each header has exactly one encoding.
"""

import itertools
import math
import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from keras_vq._fingerprint import FINGERPRINT_BYTES
from keras_vq.codec import tiles
from keras_vq.codec.bit_packing import bits_of_codes, pack_codes, unpack_codes

MAGIC = b"KVQ"
VERSION = 2
PACKED, RANGE_CODED = 0, 1
BACKENDS = ("tensorflow", "jax", "torch")
# Powers of two limit the number of compiled steps.
BATCH_SIZES = tuple(2**exponent for exponent in range(4, 11))

MAX_IMAGES = 2**20
MAX_NAME_BYTES = 1023
MAX_NAMES_BYTES = 2**25
MAX_ORIGIN_BYTES = 64
MAX_SIDE = 2**16 - 1
MAX_CHANNELS = 2**10
MAX_RANK = 4
MAX_STAGES = 2**8
MAX_CODES_PER_TILE = 2**20
MAX_NUMBER = 2**31 - 1
# Largest number of vectors per byte of payload, so that the length of a file bounds its content.
# Range-coded images with very likely codes are padded.
VECTORS_PER_BYTE = 64

_START = struct.Struct("<3sBI")
_LONGEST_NUMBER = 5


class CorruptFileError(ValueError):
    """Error for bytes that are not a valid, complete file of this format.

    Example:
        >>> import keras_vq
        >>> try:
        ...     keras_vq.codec.read_header(b"not a file of this format")
        ... except keras_vq.codec.CorruptFileError as error:
        ...     print("rejected")
        rejected
    """


class Header(NamedTuple):
    """Header of a `.kvq` file.

    Attributes:
        coder: Integer. `PACKED` or `RANGE_CODED`.
        model: Bytes. Fingerprint of the VQ-VAE.
        prior: Bytes. Fingerprint of the prior; empty for packed codes.
        backend: String. Keras backend that computed the probabilities of the prior; empty for
            packed codes.
        batch_size: Integer. Batch size of the prior, in tiles; 0 for packed codes.
        codes_crc: Integer. CRC-32 of the header fields that follow it in the file, and of the codes
            as little-endian int32.
        codebook_sizes: Tuple of integers. Codebook size of each stage.
        grid_shape: Tuple of integers. Shape of the codes of one tile.
        image_shapes: Tuple of `(height, width)` of each image.
        names: Tuple of strings. Name of each image; empty for images without names.
        tile_shape: Tuple `(height, width)`. Input size of the model.
        channels: Integer. Number of channels of all images.
        model_origin: String. Description of the source of the model, for people.
        prior_origin: String. Description of the source of the prior, for people.

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
    tile_shape: tuple[int, int]
    channels: int
    model_origin: str = ""
    prior_origin: str = ""

    @property
    def tiles(self) -> int:
        """Total number of tiles."""
        counts = Counter(self.image_shapes)
        return sum(count * _tiles(shape, self.tile_shape) for shape, count in counts.items())

    @property
    def pixels(self) -> int:
        """Number of pixels of all images, padded to whole tiles."""
        return self.tiles * math.prod(self.tile_shape)

    def with_crc_of(self, codes: np.ndarray) -> Self:
        """Returns a copy of the header with the checksum of `codes`."""
        crc = zlib.crc32(codes.astype("<i4").tobytes(), zlib.crc32(self._rest_to_bytes()))
        return self._replace(codes_crc=crc)

    def to_bytes(self) -> bytes:
        """Returns the encoded header."""
        return struct.pack("<I", self.codes_crc) + self._rest_to_bytes()

    def _rest_to_bytes(self) -> bytes:
        runs = _runs(self.image_shapes)
        parts = [
            bytes([self.coder]),
            self.model,
            _text(self.model_origin),
            *map(_number, (*self.tile_shape, self.channels)),
            _numbers(self.grid_shape),
            _numbers(self.codebook_sizes),
            _number(len(runs)),
            *(b"".join(map(_number, run)) for run in runs),
        ]
        if self.coder == RANGE_CODED:
            exponent = self.batch_size.bit_length() - 1
            parts += [self.prior, _text(self.prior_origin)]
            parts += [bytes([BACKENDS.index(self.backend), exponent])]
        return b"".join([*parts, bytes([bool(self.names)]), *_coded_names(self.names)])

    @classmethod
    def from_reader(cls, reader: "_Reader") -> Self:
        """Reads an encoded header.

        Raises:
            CorruptFileError: If a value is invalid, or too large for the length of the file.
        """
        (codes_crc,) = struct.unpack("<I", reader.take(4))
        coder = reader.choice("coder", (PACKED, RANGE_CODED))
        model = reader.take(FINGERPRINT_BYTES)
        model_origin = reader.text("the model name", MAX_ORIGIN_BYTES)
        tile_shape = (reader.side("tile"), reader.side("tile"))
        channels = reader.number("channels", 1, MAX_CHANNELS)
        grid_shape = reader.numbers("code grid axes of a tile", MAX_RANK, MAX_CODES_PER_TILE)
        codebook_sizes = reader.numbers("codebook sizes", MAX_STAGES, MAX_NUMBER)
        codes = math.prod(grid_shape)
        if codes > MAX_CODES_PER_TILE or codes % len(codebook_sizes):
            raise CorruptFileError(
                f"The number of codes per tile must be a multiple of {len(codebook_sizes)}, the "
                f"codes per vector, and at most {MAX_CODES_PER_TILE}. Received: {grid_shape}"
            )
        runs = _read_runs(reader, tile_shape, codes // len(codebook_sizes))
        prior, prior_origin, backend, batch_size = b"", "", "", 0
        if coder == RANGE_CODED:
            prior = reader.take(FINGERPRINT_BYTES)
            prior_origin = reader.text("the prior name", MAX_ORIGIN_BYTES)
            backend = BACKENDS[reader.choice("backend", range(len(BACKENDS)))]
            exponents = [size.bit_length() - 1 for size in BATCH_SIZES]
            batch_size = 1 << reader.choice("binary logarithm of the batch size", exponents)
        names: tuple[str, ...] = ()
        if reader.choice("flag for image names", (0, 1)):
            names = _read_names(reader, sum(count for count, _, _ in runs))
        return cls(
            coder,
            model,
            prior,
            backend,
            batch_size,
            codes_crc,
            codebook_sizes,
            grid_shape,
            tuple(itertools.chain.from_iterable([(tall, wide)] * n for n, tall, wide in runs)),
            names,
            tile_shape,
            channels,
            model_origin,
            prior_origin,
        )


def read_header(data: bytes) -> Header:
    """Reads the header of a file. The model is not required.

    Args:
        data: Bytes of the file.

    Returns:
        `Header`. Its strings are untrusted input.

    Raises:
        CorruptFileError: If the file has another format, or is damaged or truncated.

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
    """Returns the bytes of a file with a header and a payload."""
    rest = header.to_bytes() + payload
    return _START.pack(MAGIC, VERSION, zlib.crc32(rest)) + rest


def read_file(data: bytes) -> tuple[Header, bytes]:
    """Reads header and payload of a file.

    Raises:
        CorruptFileError: If the file has another format, or is damaged or truncated.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptFileError(
            'A .kvq file must begin with "KVQ". '
            f"Received: {len(data)} bytes that begin with {data[:3]!r}"
        )
    if len(data) < _START.size:
        raise CorruptFileError(f"The file is truncated. Received: {len(data)} bytes")
    _, version, crc = _START.unpack_from(data)
    if version != VERSION:
        raise CorruptFileError(f"The format version must be {VERSION}. Received: {version}")
    found = zlib.crc32(memoryview(data)[_START.size :])
    if found != crc:
        raise CorruptFileError(
            "The file is damaged or truncated: the checksum does not match. Received: "
            f"CRC-32 {found:08x} of {len(data)} bytes. Expected: {crc:08x}"
        )
    reader = _Reader(data, _START.size)
    header = Header.from_reader(reader)
    payload = reader.rest()
    shortest = shortest_payload(header)
    is_right = len(payload) == shortest or (
        header.coder == RANGE_CODED and len(payload) > shortest and len(payload) % 4 == 0
    )
    if not is_right:
        raise CorruptFileError(
            f"The codes of {header.tiles} tiles must take {'at least ' if header.coder else ''}"
            f"{shortest} bytes. Received: {len(payload)} bytes"
        )
    return header, payload


def shortest_payload(header: Header) -> int:
    """Returns the payload size in bytes: exact for packed codes, a minimum for range-coded ones."""
    vectors = header.tiles * math.prod(header.grid_shape) // len(header.codebook_sizes)
    least = -(-vectors // VECTORS_PER_BYTE)
    if header.coder == RANGE_CODED:
        return -(-least // 4) * 4
    return max(least, -(-vectors * sum(bits_of_codes(header.codebook_sizes)) // 8))


def unpacked(header: Header, payload: bytes) -> np.ndarray:
    """Unpacks the codes of a packed payload, an int32 array of shape `(tiles, *grid_shape)`.

    Raises:
        CorruptFileError: If a code is out of range, or a padding bit is not zero.
    """
    shape = (header.tiles, *header.grid_shape)
    rows = math.prod(shape) // len(header.codebook_sizes)
    packed = -(-rows * sum(bits_of_codes(header.codebook_sizes)) // 8)
    try:
        codes = unpack_codes(payload[:packed], math.prod(shape), header.codebook_sizes)
    except ValueError as error:
        raise CorruptFileError(
            f"The file contains codes outside its codebook sizes ({error})"
        ) from error
    if pack_codes(codes, header.codebook_sizes).ljust(len(payload), b"\0") != payload:
        raise CorruptFileError("The padding bits after the codes must be zero")
    return codes.reshape(shape)


class _Reader:
    """Sequential reader of header fields.

    Invalid or missing bytes raise `CorruptFileError`.

    Args:
        data: Bytes of the file.
        place: Integer. Offset of the header.
    """

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self.place = data, place

    @property
    def left(self) -> int:
        """Number of remaining bytes."""
        return len(self.data) - self.place

    def take(self, count: int) -> bytes:
        """Returns the next `count` bytes."""
        if count > self.left:
            raise CorruptFileError(
                f"The header of the file is truncated. Received: {len(self.data)} bytes"
            )
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self, what: str, least: int = 0, most: int = MAX_NUMBER) -> int:
        """Returns a LEB128 number, which must be in `[least, most]`."""
        value = 0
        for index in range(_LONGEST_NUMBER):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                # A final zero byte would be a second encoding of the same number.
                if least <= value <= most and (byte or not index):
                    return value
                break
        raise CorruptFileError(
            f"The header of the file has an invalid number ({what}). Received: {value}. "
            f"Expected: {least} to {most} in the shortest encoding"
        )

    def side(self, of: str) -> int:
        """Returns a height or width, in `[1, MAX_SIDE]`."""
        return self.number(f"side, {of}", 1, MAX_SIDE)

    def numbers(self, what: str, most: int, largest: int) -> tuple[int, ...]:
        """Returns 1 to `most` numbers, each in `[1, largest]`."""
        count = self.number(f"number of {what}", 1, most)
        return tuple(self.number(what, 1, largest) for _ in range(count))

    def choice(self, what: str, allowed: Sequence[int]) -> int:
        """Returns a byte, which must be in `allowed`."""
        (value,) = self.take(1)
        if value not in allowed:
            raise CorruptFileError(
                f"The header of the file has an unknown {what}. Received: {value}. "
                f"Expected: {allowed[0]} to {allowed[-1]}"
            )
        return value

    def text(self, what: str, most: int) -> str:
        """Returns a UTF-8 string of at most `most` bytes."""
        return _decoded(self.take(self.number(f"bytes of {what}", 0, most)))

    def rest(self) -> bytes:
        """Returns the remaining bytes."""
        return self.data[self.place :]


def _read_runs(
    reader: _Reader, tile_shape: tuple[int, int], vectors_per_tile: int
) -> list[tuple[int, int, int]]:
    """Reads `(count, height, width)` of each run of consecutive images of one size."""
    runs: list[tuple[int, int, int]] = []
    images = vectors = 0
    for _ in range(reader.number("number of sizes of images", 1, MAX_IMAGES)):
        count = reader.number("number of images", 1, MAX_IMAGES)
        run = (count, reader.side("image"), reader.side("image"))
        images += count
        vectors += count * _tiles(run[1:], tile_shape) * vectors_per_tile
        # Check the remaining length before allocating a list of all images.
        if images > MAX_IMAGES or vectors > VECTORS_PER_BYTE * reader.left:
            raise CorruptFileError(
                f"The number of images must be at most {MAX_IMAGES} and match the file size. "
                f"Received: {images} images with {vectors} vectors in {reader.left} bytes"
            )
        if runs and runs[-1][1:] == run[1:]:
            raise CorruptFileError(
                "The header of the file must store consecutive images of equal size as one run"
            )
        runs.append(run)
    return runs


def _read_names(reader: _Reader, count: int) -> tuple[str, ...]:
    """Reads the name of each image, encoded as a prefix of the previous name and a suffix."""
    names: list[str] = []
    total, before = 0, b""
    for _ in range(count):
        shared = reader.number("shared bytes of a name", 0, len(before))
        most = min(MAX_NAME_BYTES, MAX_NAMES_BYTES - total) - shared
        own = reader.take(reader.number("bytes of a name", 0, most))
        if own and before[shared : shared + 1] == own[:1]:
            raise CorruptFileError(
                "The header of the file must store each name with its longest shared prefix"
            )
        name = before[:shared] + own
        total += len(name)
        names.append(_decoded(name))
        before = name
    return tuple(names)


def _coded_names(names: tuple[str, ...]) -> list[bytes]:
    parts, before = [], b""
    for name in names:
        coded = name.encode()
        shared = _shared(before, coded)
        parts += [_number(shared), _number(len(coded) - shared), coded[shared:]]
        before = coded
    return parts


def _shared(before: bytes, name: bytes) -> int:
    """Returns the length of the common prefix of two names."""
    count = 0
    for one, other in zip(before, name, strict=False):
        if one != other:
            break
        count += 1
    return count


def _tiles(image_shape: Sequence[int], tile_shape: tuple[int, int]) -> int:
    return math.prod(tiles.tiles_across((image_shape[0], image_shape[1]), tile_shape))


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"The header of the file has invalid UTF-8 ({error})") from None


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
    """Returns `(count, height, width)` of each run of consecutive images of one size."""
    runs: list[tuple[int, int, int]] = []
    for height, width in shapes:
        if runs and runs[-1][1:] == (height, width):
            runs[-1] = (runs[-1][0] + 1, height, width)
        else:
            runs.append((1, height, width))
    return runs
