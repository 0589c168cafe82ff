"""Mutations of bytes, shared by all targets."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Edge cases of lengths, counts and offsets, and runs that make parsers recurse.
_TOKENS = (
    b"\x00",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\x00" * 4,
    b"\xff" * 4,
    b"\xff\xff\xff\xff\x07",
    b"\xff\xff\xff\xff\x0f",
    b"\x80" * 5,
    b"\xff" * 8,
    b"\x00\x00\x00\x80",
    b"\xff\xff\xff\x7f",
    b"[" * 2_000,
    b"9" * 5_000,
    b"{" * 500,
    b"-1",
    b"1e999",
    b"NaN",
    b"../../x",
    b"\xed\xa0\x80",
    b"\xff\xfe",
    b"a" * 300,
)

# Edge cases of constructor arguments and sizes.
_VALUES = (0, -1, 10**6, 10**9, 2**31, 2**63, 1e30, None, True, "x", [], {}, [1] * 50, "mean")

Mutation = Callable[[bytearray, np.random.Generator, Sequence[bytes]], None]


def mutate(
    data: bytes, rng: np.random.Generator, others: Sequence[bytes] = (), most: int = 4
) -> bytes:
    """Applies one to `most` random mutations.

    Args:
        data: A valid input.
        rng: Source of all random choices.
        others: Valid inputs from which parts are taken.
        most: Maximum number of mutations.

    Returns:
        The mutated bytes. They can equal `data`.
    """
    made = bytearray(data)
    for _ in range(int(rng.integers(1, most + 1))):
        mutation = _MUTATIONS[int(rng.integers(len(_MUTATIONS)))]
        mutation(made, rng, others or (data,))
    return bytes(made)


def change_value(config: Any, rng: np.random.Generator) -> None:
    """Replaces one entry of a JSON value, at a random depth, by an edge case."""
    places: list[tuple[Any, Any]] = []
    pending = [config]
    while pending:
        value = pending.pop()
        for key in value if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], (dict, list)):
                pending.append(value[key])
    place, key = places[int(rng.integers(len(places)))]
    place[key] = _VALUES[int(rng.integers(len(_VALUES)))]


def flip_bits(made: bytearray, rng: np.random.Generator, others: Sequence[bytes] = ()) -> None:
    """Flips one to eight bits."""
    del others
    for _ in range(int(rng.integers(1, 9))):
        if made:
            made[_place(made, rng)] ^= 1 << int(rng.integers(8))


def set_bytes(made: bytearray, rng: np.random.Generator, others: Sequence[bytes] = ()) -> None:
    """Replaces one or more consecutive bytes with random ones."""
    del others
    place, count = _place(made, rng), int(rng.integers(1, 5))
    made[place : place + count] = rng.bytes(len(made[place : place + count]))


def truncate(made: bytearray, rng: np.random.Generator, others: Sequence[bytes] = ()) -> None:
    """Removes the end."""
    del others
    del made[_place(made, rng) :]


def remove(made: bytearray, rng: np.random.Generator, others: Sequence[bytes] = ()) -> None:
    """Removes a slice."""
    del others
    place = _place(made, rng)
    del made[place : place + int(rng.integers(1, 17))]


def repeat(made: bytearray, rng: np.random.Generator, others: Sequence[bytes] = ()) -> None:
    """Repeats a slice, up to 64 times."""
    del others
    place = _place(made, rng)
    piece = bytes(made[place : place + int(rng.integers(1, 33))])
    made[place:place] = piece * int(rng.integers(1, 65))


def insert(made: bytearray, rng: np.random.Generator, others: Sequence[bytes] = ()) -> None:
    """Inserts a token that is an edge case for parsers, or overwrites bytes with it."""
    del others
    place, token = _place(made, rng), _TOKENS[int(rng.integers(len(_TOKENS)))]
    made[place : place + (len(token) if rng.random() < 0.5 else 0)] = token


def splice(made: bytearray, rng: np.random.Generator, others: Sequence[bytes] = ()) -> None:
    """Replaces the end or a slice with that of another valid input."""
    other = others[int(rng.integers(len(others)))]
    place, start = _place(made, rng), _place(other, rng)
    if rng.random() < 0.5:
        made[place:] = other[start:]
    else:
        count = int(rng.integers(1, 65))
        made[place : place + count] = other[start : start + count]


_MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits,
    set_bytes,
    truncate,
    remove,
    repeat,
    insert,
    splice,
)


def _place(data: bytes | bytearray, rng: np.random.Generator) -> int:
    return int(rng.integers(len(data))) if data else 0
