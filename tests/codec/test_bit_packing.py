import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_vq.codec import pack_codes, unpack_codes

pytestmark = pytest.mark.backend_free


@st.composite
def codes_and_sizes(draw):
    sizes = draw(st.lists(st.integers(1, 2**20), min_size=1, max_size=4))
    rows = draw(st.integers(0, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.integers(0, sizes, (rows, len(sizes))), sizes


@given(codes_and_sizes())
def test_what_is_packed_is_unpacked(case):
    codes, sizes = case
    packed = pack_codes(codes, sizes)
    assert np.array_equal(unpack_codes(packed, codes.size, sizes), codes.ravel())
    bits = sum((size - 1).bit_length() for size in sizes) * len(codes)
    assert len(packed) == -(-bits // 8)


def test_bits_stand_in_the_order_of_codes():
    # 5 in 3 bits and 1 in 2 bits, twice: 101 01 101 01, padded with zeros.
    assert pack_codes(np.array([[5, 1], [5, 1]]), [8, 4]) == bytes([0b10101101, 0b01000000])


@pytest.mark.parametrize("codes", [[4], [-1], [0.5]])
def test_codes_that_do_not_fit(codes):
    with pytest.raises(ValueError, match=r"`codes` must be"):
        pack_codes(np.array(codes), [4])


@pytest.mark.parametrize(("packed", "count"), [(b"", 1), (b"\x00\x00", 4)])
def test_bytes_that_do_not_fit(packed, count):
    with pytest.raises(ValueError, match=r"length of `packed` must be 1"):
        unpack_codes(packed, count, [4])


def test_codes_above_the_codebook():
    with pytest.raises(ValueError, match="from 0 to 2"):
        unpack_codes(b"\xc0", 1, [3])
