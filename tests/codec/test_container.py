import contextlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_vq.codec import CorruptFileError, Header, read_header
from keras_vq.codec.container import PACKED, RANGE_CODED, read_file, write_file

pytestmark = pytest.mark.backend_free

SHAPES = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 2**20)), max_size=8)


@st.composite
def headers(draw):
    shapes = tuple(draw(SHAPES))
    named = st.lists(st.text(max_size=9), min_size=len(shapes), max_size=len(shapes))
    coded = draw(st.booleans())
    return Header(
        coder=RANGE_CODED if coded else PACKED,
        model=draw(st.binary(min_size=8, max_size=8)),
        prior=draw(st.binary(min_size=8, max_size=8)) if coded else b"",
        backend="tensorflow" if coded else "",
        batch_size=draw(st.integers(1, 2**16)) if coded else 0,
        codes_crc=draw(st.integers(0, 2**32 - 1)),
        codebook_sizes=tuple(draw(st.lists(st.integers(1, 2**24), min_size=1, max_size=9))),
        grid_shape=tuple(draw(st.lists(st.integers(1, 500), min_size=1, max_size=4))),
        image_shapes=shapes,
        names=tuple(draw(st.one_of(named, st.just([])))),
    )


@given(headers(), st.binary(max_size=40))
def test_what_is_written_is_read(header, payload):
    data = write_file(header, payload)
    assert read_file(data) == (header, payload)
    assert read_header(data) == header


EXAMPLE = Header(PACKED, bytes(8), b"", "", 0, 7, (16,), (2, 2), ((8, 8),) * 9, ("é.png",) * 9)


def test_images_of_one_size_take_no_room():
    many = EXAMPLE._replace(image_shapes=((8, 8),) * 10_000, names=())
    assert len(write_file(many, b"")) < 40


def test_every_flipped_bit_is_noticed():
    data = write_file(EXAMPLE, b"payload")
    for place in range(8 * len(data)):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(CorruptFileError):
            read_header(bytes(changed))


def test_every_truncation_is_noticed():
    data = write_file(EXAMPLE, b"payload")
    for length in range(len(data)):
        with pytest.raises(CorruptFileError):
            read_header(data[:length])


@given(st.binary(max_size=60))
def test_headers_that_somebody_forged(rest):
    with contextlib.suppress(CorruptFileError):
        read_header(b"KVQ\x01" + struct.pack("<I", zlib.crc32(rest)) + rest)


@pytest.mark.parametrize(
    "forged",
    [
        EXAMPLE._replace(image_shapes=((1, 1),) * 3),
        EXAMPLE._replace(image_shapes=((0, 1),) * 9),
        EXAMPLE._replace(coder=RANGE_CODED, prior=bytes(8), backend="jax"),
    ],
)
def test_headers_that_cannot_be(forged):
    with pytest.raises(CorruptFileError, match="header"):
        read_header(write_file(forged, b""))


def test_a_count_that_would_fill_all_memory():
    rest = write_file(EXAMPLE._replace(names=()), b"")[8:]
    runs = bytes([1, 9, 8, 8])
    assert rest.count(runs) == 1
    rest = rest.replace(runs, b"\x01\xff\xff\xff\xff\x0f\x08\x08")
    with pytest.raises(CorruptFileError, match="images of 8 x 8"):
        read_header(b"KVQ\x01" + struct.pack("<I", zlib.crc32(rest)) + rest)


def test_other_files_and_versions_are_told_apart():
    with pytest.raises(CorruptFileError, match=r"no \.kvq file"):
        read_header(b"\x89PNG....")
    data = bytearray(write_file(EXAMPLE, b""))
    data[3] = 2
    with pytest.raises(CorruptFileError, match="version 2"):
        read_header(bytes(data))
