"""Codes in as few bits as their number allows, without knowledge of which are likely."""

from collections.abc import Sequence

import numpy as np

from keras_vq import _validation


def bits_of_codes(codebook_sizes: Sequence[int]) -> list[int]:
    """Bits of one code of each level: log2 of how many there are, rounded up."""
    return [(size - 1).bit_length() for size in codebook_sizes]


def pack_codes(codes: np.ndarray, codebook_sizes: Sequence[int]) -> bytes:
    """Packs codes one after another, each in the bits that its codebook takes.

    Args:
        codes: Integer array, at least 0 and below the sizes; the levels vary fastest.
        codebook_sizes: How many codes each of L levels has; L divides the number of codes.

    Returns:
        The bytes; up to 7 bits at the end are zero.

    Raises:
        ValueError: If codes are out of range, or don't make up whole levels.

    Example:
        >>> import numpy as np, keras_vq
        >>> keras_vq.codec.pack_codes(np.array([1, 2, 3, 0]), [4]).hex()
        '6c'
    """
    codes = _validation.check_codes("codes", codes, codebook_sizes)
    levels = codes.reshape(-1, len(codebook_sizes))
    planes = [
        (levels[:, level, None] >> np.arange(bits)[::-1]) & 1
        for level, bits in enumerate(bits_of_codes(codebook_sizes))
    ]
    return np.packbits(np.concatenate(planes, axis=1).astype("uint8").ravel()).tobytes()


def unpack_codes(packed: bytes, count: int, codebook_sizes: Sequence[int]) -> np.ndarray:
    """Codes of the bytes that `pack_codes` made.

    Args:
        packed: The bytes.
        count: How many codes, of all levels together.
        codebook_sizes: As they were packed.

    Returns:
        Int32 array of shape `(count,)`.

    Raises:
        ValueError: If there are other than the bytes of so many codes, or codes out of range.

    Example:
        >>> import keras_vq
        >>> keras_vq.codec.unpack_codes(bytes.fromhex("6c"), 4, [4]).tolist()
        [1, 2, 3, 0]
    """
    bits = bits_of_codes(codebook_sizes)
    rows, left = divmod(count, len(bits))
    expected = (rows * sum(bits) + 7) // 8
    if left or len(packed) != expected:
        raise ValueError(
            f"`packed` must be the {expected} bytes of {count} codes of {len(bits)} levels. "
            f"Received: {len(packed)} bytes"
        )
    binary = np.unpackbits(np.frombuffer(packed, "uint8"))[: rows * sum(bits)]
    binary = binary.reshape(rows, sum(bits))
    planes = np.split(binary, np.cumsum(bits)[:-1], axis=1)
    levels = [
        plane @ (1 << np.arange(width, dtype="int64")[::-1])
        for plane, width in zip(planes, bits, strict=True)
    ]
    codes = np.stack(levels, axis=1)
    return _validation.check_codes("codes", codes.ravel(), codebook_sizes)
