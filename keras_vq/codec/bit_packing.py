"""Bit packing of codes with a fixed number of bits per codebook."""

from collections.abc import Sequence

import numpy as np

from keras_vq import _validation


def bits_of_codes(codebook_sizes: Sequence[int]) -> list[int]:
    """Returns the bits per code of each stage, ⌈log₂ K⌉ for a codebook of K codes."""
    return [(size - 1).bit_length() for size in codebook_sizes]


def pack_codes(codes: np.ndarray, codebook_sizes: Sequence[int]) -> bytes:
    """Packs codes into bytes, with ⌈log₂ K⌉ bits per code of a codebook of K codes.

    Args:
        codes: Integer array of any shape, with codes in [0, K - 1]. Stages vary fastest.
        codebook_sizes: Sequence of integers. Codebook size K of each stage. The number of stages
            divides the number of codes.

    Returns:
        Bytes. Up to 7 padding bits at the end are zero.

    Raises:
        ValueError: If codes are out of range, or their number is not a multiple of the number of
            stages.

    Example:
        >>> import numpy as np, keras_vq
        >>> keras_vq.codec.pack_codes(np.array([1, 2, 3, 0]), [4]).hex()
        '6c'
    """
    codes = _validation.check_codes("codes", codes, codebook_sizes)
    stages = codes.reshape(-1, len(codebook_sizes))
    planes = [
        (stages[:, stage, None] >> np.arange(bits)[::-1]) & 1
        for stage, bits in enumerate(bits_of_codes(codebook_sizes))
    ]
    return np.packbits(np.concatenate(planes, axis=1).astype("uint8").ravel()).tobytes()


def unpack_codes(packed: bytes, count: int, codebook_sizes: Sequence[int]) -> np.ndarray:
    """Unpacks codes from the bytes of `pack_codes`.

    Args:
        packed: Bytes.
        count: Integer. Number of codes of all stages together.
        codebook_sizes: Sequence of integers. Codebook size of each stage, as in `pack_codes`.

    Returns:
        Int32 array of shape `(count,)`.

    Raises:
        ValueError: If the number of bytes does not match `count`, or codes are out of range.

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
            f"The length of `packed` must be {expected} for {count} codes of {len(bits)} "
            f"codebooks. Received: {len(packed)}"
        )
    binary = np.unpackbits(np.frombuffer(packed, "uint8"))[: rows * sum(bits)]
    binary = binary.reshape(rows, sum(bits))
    planes = np.split(binary, np.cumsum(bits)[:-1], axis=1)
    stages = [
        plane @ (1 << np.arange(width, dtype="int64")[::-1])
        for plane, width in zip(planes, bits, strict=True)
    ]
    codes = np.stack(stages, axis=1)
    return _validation.check_codes("codes", codes.ravel(), codebook_sizes)
