import contextlib
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_vq.codec import CorruptFileError, Header, pack_codes, read_header
from keras_vq.codec.container import (
    BACKENDS,
    BATCH_SIZES,
    MAX_CHANNELS,
    PACKED,
    RANGE_CODED,
    read_file,
    shortest_payload,
    unpacked,
    write_file,
)

pytestmark = pytest.mark.backend_free

TILE = (8, 32)
SHAPES = st.lists(
    st.one_of(st.tuples(st.integers(1, 40), st.integers(1, 300)), st.just((1, 1))),
    min_size=1,
    max_size=8,
)


@st.composite
def files(draw):
    """Draws a header and random codes, and returns them with the payload."""
    shapes = tuple(draw(SHAPES))
    named = st.lists(st.text(max_size=9), min_size=len(shapes), max_size=len(shapes))
    coded = draw(st.booleans())
    sizes = tuple(draw(st.lists(st.integers(1, 2**24), min_size=1, max_size=4)))
    grid = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    header = Header(
        coder=RANGE_CODED if coded else PACKED,
        model=draw(st.binary(min_size=8, max_size=8)),
        prior=draw(st.binary(min_size=8, max_size=8)) if coded else b"",
        backend=draw(st.sampled_from(BACKENDS)) if coded else "",
        batch_size=draw(st.sampled_from(BATCH_SIZES)) if coded else 0,
        codes_crc=0,
        codebook_sizes=sizes,
        grid_shape=(*grid, len(sizes)),
        image_shapes=shapes,
        names=tuple(draw(st.one_of(named, st.just([])))),
        tile_shape=TILE,
        channels=draw(st.integers(1, MAX_CHANNELS)),
        model_origin=draw(st.text(max_size=16)),
        prior_origin=draw(st.text(max_size=16)) if coded else "",
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    codes = rng.integers(0, sizes, (header.tiles, *header.grid_shape), "int32")
    payload = rng.bytes(shortest_payload(header) + 8) if coded else pack_codes(codes, sizes)
    return header.with_crc_of(codes), codes, payload.ljust(shortest_payload(header), b"\0")


@given(files())
def test_what_is_written_is_read(file):
    header, codes, payload = file
    data = write_file(header, payload)
    assert read_file(data) == (header, payload)
    assert read_header(data) == header
    assert read_header(data).with_crc_of(codes) == header
    if header.coder == PACKED:
        assert np.array_equal(unpacked(header, payload), codes)


CODES = np.arange(9 * 4, dtype="int32").reshape(9, 2, 2) % 16
EXAMPLE = Header(
    PACKED,
    bytes(8),
    b"",
    "",
    0,
    0,
    (16,),
    (2, 2),
    ((8, 8),) * 9,
    ("é.png",) * 9,
    (8, 8),
    1,
    "of a test",
).with_crc_of(CODES)
PAYLOAD = pack_codes(CODES, [16])
CODED = EXAMPLE._replace(
    coder=RANGE_CODED, prior=bytes(8), backend="jax", batch_size=64
).with_crc_of(CODES)


def test_images_of_one_size_take_no_room():
    many = EXAMPLE._replace(image_shapes=((8, 8),) * 10_000, names=(), model_origin="")
    assert len(write_file(many, b"")) < 40


def test_similar_names_take_little_room():
    names = tuple(f"holiday-{number:04}.png" for number in range(1000))
    header = EXAMPLE._replace(image_shapes=((8, 8),) * 1000, names=names)
    assert len(write_file(header, b"")) < 60 + 1000 * 8
    data = write_file(header, pack_codes(np.zeros((1000, 2, 2), "int32"), [16]))
    assert read_header(data).names == names


def test_every_flipped_bit_is_noticed():
    data = write_file(EXAMPLE, PAYLOAD)
    for place in range(8 * len(data)):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(CorruptFileError):
            read_header(bytes(changed))


def test_every_truncation_is_noticed():
    data = write_file(EXAMPLE, PAYLOAD)
    for length in range(len(data)):
        with pytest.raises(CorruptFileError):
            read_header(data[:length])


def sealed(rest):
    """Returns a file of arbitrary content with a valid checksum."""
    return b"KVQ\x02" + struct.pack("<I", zlib.crc32(rest)) + rest


@given(st.binary(max_size=60))
def test_headers_that_somebody_forged(rest):
    with contextlib.suppress(CorruptFileError):
        read_header(sealed(rest))


@pytest.mark.parametrize("header", [EXAMPLE, CODED], ids=["packed", "coded"])
def test_every_changed_byte_of_a_header_is_an_error_or_another_checksum_of_codes(header):
    """The outer checksum is repaired, as in a deliberately modified file."""
    rest = (
        write_file(header, PAYLOAD + bytes(2))[8:]
        if header.coder
        else write_file(header, PAYLOAD)[8:]
    )
    end = len(header.to_bytes())
    read = 0
    for place in range(end):
        for value in {0, 1, 0x7F, 0x80, 0xFF, rest[place] ^ 1, rest[place] + 1 & 0xFF}:
            if value == rest[place]:
                continue
            try:
                found = read_header(sealed(rest[:place] + bytes([value]) + rest[place + 1 :]))
            except CorruptFileError:
                continue
            read += 1
            assert found != header
            try:
                same = found.with_crc_of(CODES) == found
            except ValueError:
                same = False
            assert not same
    assert read > 50


def replaced(old, new, header=EXAMPLE):
    """Returns the file with part of its header replaced and its checksum repaired."""
    rest = write_file(header._replace(names=()), PAYLOAD)[8:]
    assert rest.count(old) == 1
    return sealed(rest.replace(old, new))


RUNS = b"\x01\x10" + b"\x01\x09\x08\x08"  # one stage of 16 codes; one size, 9 images of 8 x 8
TWO_TO_THE_20 = b"\x80\x80\x40"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (replaced(RUNS, b"\x01\x10\x01" + TWO_TO_THE_20 + b"\x08\x08"), "at most 1048576"),
        (replaced(RUNS, b"\x01\x10\x01\x80\x80\x80\x08\x08\x08"), "number of images"),
        (replaced(RUNS, b"\x01\x10\x01\x0a\x08\x08"), "codes of 10 tiles must take 20 bytes"),
        (replaced(RUNS, b"\x01\x10\x01\x09\x00\x08"), "side, image"),
        (replaced(RUNS, b"\x01\x10\x01\x09\x08\xff\xff\x7f"), "side, image"),
        (replaced(RUNS, b"\x01\x10\x02\x08\x08\x08\x01\x08\x08"), "as one run"),
        (replaced(RUNS, b"\x01\x10\x00"), "number of sizes of images"),
        (replaced(RUNS, b"\x01\x10\x01\x89\x00\x08\x08"), "shortest encoding"),
        (replaced(RUNS, b"\x01\xff\xff\xff\xff\x7f\x01\x09\x08\x08"), "codebook sizes"),
        (replaced(RUNS, b"\x00\x01\x09\x08\x08"), "number of codebook sizes"),
        (replaced(RUNS, b"\x03\x10\x10\x10\x01\x09\x08\x08"), "multiple of 3"),
        (replaced(b"\x02\x02\x02" + RUNS, b"\x02\x80\x10\x80\x10" + RUNS), "at most 1048576"),
        (replaced(b"\x02\x02\x02" + RUNS, b"\x05\x02\x02\x01\x01\x01" + RUNS), "code grid axes"),
        (replaced(b"\x09of a test", b"\x41" + b"x" * 65), "model name"),
        (replaced(b"\x09of a test", b"\x02\xc3\x28"), "invalid UTF-8"),
        (sealed(write_file(EXAMPLE._replace(coder=7), PAYLOAD)[8:]), "coder"),
        (write_file(EXAMPLE, PAYLOAD + b"\0"), "18 bytes. Received: 19"),
        (write_file(EXAMPLE, PAYLOAD[:-1]), "18 bytes. Received: 17"),
        (write_file(CODED, b""), "at least 4 bytes. Received: 0"),
        (write_file(CODED, bytes(5)), "at least 4 bytes. Received: 5"),
        (write_file(EXAMPLE._replace(names=("a",) * 8), PAYLOAD), "header"),
        (write_file(EXAMPLE._replace(names=("a" * 1024,) * 9), PAYLOAD), "bytes of a name"),
        (write_file(CODED._replace(batch_size=2048), PAYLOAD + bytes(2)), "batch size"),
        (write_file(CODED._replace(batch_size=8), PAYLOAD + bytes(2)), "batch size"),
    ],
)
def test_headers_that_are_not_allowed(data, message):
    with pytest.raises(CorruptFileError, match=message):
        read_header(data)


def test_names_share_as_much_as_they_can():
    data = write_file(EXAMPLE._replace(image_shapes=((8, 8),) * 2, names=("ab", "ac")), bytes(4))
    old, new = b"\x00\x02ab\x01\x01c", b"\x00\x02ab\x00\x02ac"
    assert read_header(data).names == ("ab", "ac")
    with pytest.raises(CorruptFileError, match="longest shared prefix"):
        read_header(sealed(data[8:].replace(old, new)))


def test_bits_after_the_codes_are_zero():
    header = EXAMPLE._replace(image_shapes=((8, 8),), grid_shape=(1, 1), names=())
    header = header.with_crc_of(np.full((1, 1, 1), 5))
    assert unpacked(header, b"\x50").tolist() == [[[5]]]
    with pytest.raises(CorruptFileError, match="must be zero"):
        unpacked(header, b"\x51")
    with pytest.raises(CorruptFileError, match="outside its codebook sizes"):
        unpacked(header._replace(codebook_sizes=(9,)), b"\x90")


def test_codes_of_no_bits_take_a_byte_for_64_vectors():
    header = EXAMPLE._replace(codebook_sizes=(1,), image_shapes=((8, 8),) * 33, names=())
    assert shortest_payload(header) == 3
    assert read_file(write_file(header, bytes(3)))[1] == bytes(3)
    assert unpacked(header, bytes(3)).shape == (33, 2, 2)
    with pytest.raises(CorruptFileError, match=r"take 3 bytes\. Received: 2"):
        read_file(write_file(header, bytes(2)))


def test_other_files_and_versions_are_told_apart():
    with pytest.raises(CorruptFileError, match=r"A \.kvq file must begin"):
        read_header(b"\x89PNG....")
    data = bytearray(write_file(EXAMPLE, PAYLOAD))
    data[3] = 1
    with pytest.raises(CorruptFileError, match=r"version must be 2\. Received: 1"):
        read_header(bytes(data))
