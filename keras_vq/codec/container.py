"""File format `.kvq`, version 2. `docs/compression.md` is its specification, byte by byte.

Every size that a header names is bounded by the bytes of the file or by a constant before anything
is allocated, and each header has one encoding only.
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
# A power of two, so that few sizes of a compiled step are asked for.
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
# A payload has a byte for so many vectors at least, so that the bytes of a file bound what it
# decodes to. Range-coded images that a prior is certain of would take less.
VECTORS_PER_BYTE = 64

_START = struct.Struct("<3sBI")
_LONGEST_NUMBER = 5


class CorruptFileError(ValueError):
    """Raised for bytes that are not a whole file of this format, or were changed."""


class Header(NamedTuple):
    """Header of a file: all that it holds, except for the codes.

    Attributes:
        coder: `PACKED` or `RANGE_CODED`.
        model: Fingerprint of the VQ-VAE that made the codes.
        prior: Fingerprint of the prior that they were coded with; empty if packed.
        backend: Name of the backend that computed the prior's probabilities; empty if packed.
        batch_size: Grids of codes that it computed at a time; 0 if packed.
        codes_crc: CRC-32 of the header that follows it and of the codes as little-endian int32.
        codebook_sizes: Number of codes of each stage.
        grid_shape: Shape of the codes of one tile.
        image_shapes: (height, width) of each image.
        names: Name of each image; empty where they have none.
        tile_shape: (height, width) of the images that the model takes.
        channels: Channels of all images.
        model_origin: Where the model came from, as the writer put it: a text for people.
        prior_origin: Where the prior came from.

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
        """Number of tiles of all images."""
        counts = Counter(self.image_shapes)
        return sum(count * _tiles(shape, self.tile_shape) for shape, count in counts.items())

    @property
    def pixels(self) -> int:
        """Number of pixels of all tiles: of the images, filled up to whole tiles."""
        return self.tiles * math.prod(self.tile_shape)

    def with_crc_of(self, codes: np.ndarray) -> Self:
        """Returns the header with the checksum of these codes."""
        crc = zlib.crc32(codes.astype("<i4").tobytes(), zlib.crc32(self._rest_to_bytes()))
        return self._replace(codes_crc=crc)

    def to_bytes(self) -> bytes:
        """Returns the header as it stands in a file."""
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
        """Reads the header that `to_bytes` wrote.

        Raises:
            CorruptFileError: If a value is not allowed, or more than the bytes can hold.
        """
        (codes_crc,) = struct.unpack("<I", reader.take(4))
        coder = reader.choice("coder", (PACKED, RANGE_CODED))
        model = reader.take(FINGERPRINT_BYTES)
        model_origin = reader.text("the origin of the model", MAX_ORIGIN_BYTES)
        tile_shape = (reader.side("tile"), reader.side("tile"))
        channels = reader.number("channels", 1, MAX_CHANNELS)
        grid_shape = reader.numbers("sides of the codes of a tile", MAX_RANK, MAX_CODES_PER_TILE)
        codebook_sizes = reader.numbers("codebook sizes", MAX_STAGES, MAX_NUMBER)
        codes = math.prod(grid_shape)
        if codes > MAX_CODES_PER_TILE or codes % len(codebook_sizes):
            raise CorruptFileError(
                f"The file's header names tiles of {grid_shape} codes of {len(codebook_sizes)} "
                f"stages. Expected whole vectors, at most {MAX_CODES_PER_TILE} codes"
            )
        runs = _read_runs(reader, tile_shape, codes // len(codebook_sizes))
        prior, prior_origin, backend, batch_size = b"", "", "", 0
        if coder == RANGE_CODED:
            prior = reader.take(FINGERPRINT_BYTES)
            prior_origin = reader.text("the origin of the prior", MAX_ORIGIN_BYTES)
            backend = BACKENDS[reader.choice("backend", range(len(BACKENDS)))]
            exponents = [size.bit_length() - 1 for size in BATCH_SIZES]
            batch_size = 1 << reader.choice("power of two of the batch size", exponents)
        names: tuple[str, ...] = ()
        if reader.choice("mark of names", (0, 1)):
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
    """Reads the header of a file, without the model.

    Args:
        data: The bytes of the file.

    Returns:
        The header. Texts in it are not trusted.

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
    """Returns the bytes of a file."""
    rest = header.to_bytes() + payload
    return _START.pack(MAGIC, VERSION, zlib.crc32(rest)) + rest


def read_file(data: bytes) -> tuple[Header, bytes]:
    """Reads header and payload of the bytes of a file.

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
    found = zlib.crc32(memoryview(data)[_START.size :])
    if found != crc:
        raise CorruptFileError(
            "The file was changed or cut short: its checksum is another. Received: "
            f"CRC-32 {found:08x} of {len(data)} bytes, expected {crc:08x}"
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
            f"The file's header names {len(header.image_shapes)} images of {header.tiles} tiles, "
            f"whose codes take {'at least ' if header.coder else ''}{shortest} bytes. "
            f"Received: {len(payload)} bytes of codes"
        )
    return header, payload


def shortest_payload(header: Header) -> int:
    """Returns the number of bytes of packed codes, or the least number of range-coded ones."""
    vectors = header.tiles * math.prod(header.grid_shape) // len(header.codebook_sizes)
    least = -(-vectors // VECTORS_PER_BYTE)
    if header.coder == RANGE_CODED:
        return -(-least // 4) * 4
    return max(least, -(-vectors * sum(bits_of_codes(header.codebook_sizes)) // 8))


def unpacked(header: Header, payload: bytes) -> np.ndarray:
    """Returns the codes of a packed payload, int32 of shape `(tiles, *grid_shape)`.

    Raises:
        CorruptFileError: If a code is out of range, or a bit that belongs to none is not zero.
    """
    shape = (header.tiles, *header.grid_shape)
    rows = math.prod(shape) // len(header.codebook_sizes)
    packed = -(-rows * sum(bits_of_codes(header.codebook_sizes)) // 8)
    try:
        codes = unpack_codes(payload[:packed], math.prod(shape), header.codebook_sizes)
    except ValueError as error:
        raise CorruptFileError(f"The file has codes that its codebooks lack ({error})") from error
    if pack_codes(codes, header.codebook_sizes).ljust(len(payload), b"\0") != payload:
        raise CorruptFileError("The file has bits after its codes that are not zero")
    return codes.reshape(shape)


class _Reader:
    """Takes a header apart, from front to back.

    Args:
        data: The bytes of the file.
        place: Where the header begins.
    """

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self.place = data, place

    @property
    def left(self) -> int:
        """Number of bytes that were not taken yet."""
        return len(self.data) - self.place

    def take(self, count: int) -> bytes:
        """Returns the next bytes."""
        if count > self.left:
            raise CorruptFileError(
                f"The file's header is cut short. Received: {len(self.data)} bytes"
            )
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self, what: str, least: int = 0, most: int = MAX_NUMBER) -> int:
        """Returns a number that must be within bounds."""
        value = 0
        for index in range(_LONGEST_NUMBER):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                # A last byte of zero would be a second encoding of the same number.
                if least <= value <= most and (byte or not index):
                    return value
                break
        raise CorruptFileError(
            f"The file's header has a number that is not allowed ({what}). Received: {value}, "
            f"expected {least} to {most} in as few bytes as it takes"
        )

    def side(self, of: str) -> int:
        """Returns a height or width."""
        return self.number(f"side, {of}", 1, MAX_SIDE)

    def numbers(self, what: str, most: int, largest: int) -> tuple[int, ...]:
        """Returns one to `most` numbers, each of at least 1."""
        count = self.number(f"number of {what}", 1, most)
        return tuple(self.number(what, 1, largest) for _ in range(count))

    def choice(self, what: str, allowed: Sequence[int]) -> int:
        """Returns a byte that must be one of a few."""
        (value,) = self.take(1)
        if value not in allowed:
            raise CorruptFileError(
                f"The file's header names a {what} that is unknown. Received: {value}, "
                f"expected {allowed[0]} to {allowed[-1]}"
            )
        return value

    def text(self, what: str, most: int) -> str:
        """Returns a text of UTF-8."""
        return _decoded(self.take(self.number(f"bytes of {what}", 0, most)))

    def rest(self) -> bytes:
        """Returns all bytes that were not taken."""
        return self.data[self.place :]


def _read_runs(
    reader: _Reader, tile_shape: tuple[int, int], vectors_per_tile: int
) -> list[tuple[int, int, int]]:
    """Reads (count, height, width) of images that follow each other and have one size."""
    runs: list[tuple[int, int, int]] = []
    images = vectors = 0
    for _ in range(reader.number("number of sizes of images", 1, MAX_IMAGES)):
        count = reader.number("number of images", 1, MAX_IMAGES)
        run = (count, reader.side("image"), reader.side("image"))
        images += count
        vectors += count * _tiles(run[1:], tile_shape) * vectors_per_tile
        # What follows has to hold them, before a list of them is made.
        if images > MAX_IMAGES or vectors > VECTORS_PER_BYTE * reader.left:
            raise CorruptFileError(
                f"The file's header names more images than the file can hold. Received: {images} "
                f"images of {vectors} vectors in {reader.left} bytes, at most {MAX_IMAGES} images"
            )
        if runs and runs[-1][1:] == run[1:]:
            raise CorruptFileError(
                "The file's header has images of one size in two parts. Expected one"
            )
        runs.append(run)
    return runs


def _read_names(reader: _Reader, count: int) -> tuple[str, ...]:
    """Reads a name for each image: bytes shared with the name before, and the others."""
    names: list[str] = []
    total, before = 0, b""
    for _ in range(count):
        shared = reader.number("shared bytes of a name", 0, len(before))
        most = min(MAX_NAME_BYTES, MAX_NAMES_BYTES - total) - shared
        own = reader.take(reader.number("bytes of a name", 0, most))
        if own and before[shared : shared + 1] == own[:1]:
            raise CorruptFileError(
                "The file has a name that does not share all that it could with the one before"
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
    """Returns how many bytes two names begin with alike."""
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
        raise CorruptFileError(f"The file's header has a text that is no UTF-8 ({error})") from None


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
