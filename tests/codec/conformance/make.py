"""Generator of the conformance files: `python -m tests.codec.conformance.make`.

The format is frozen: existing files never change, new ones may be added.
"""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from keras_vq.codec import Header, pack_codes
from keras_vq.codec.container import PACKED, RANGE_CODED, shortest_payload, write_file

FOLDER = Path(__file__).parent
_MODEL, _PRIOR = bytes(range(8)), bytes(range(8, 16))
_BASE = Header(
    coder=PACKED,
    model=_MODEL,
    prior=b"",
    backend="",
    batch_size=0,
    codes_crc=0,
    codebook_sizes=(16,),
    grid_shape=(2, 2),
    image_shapes=((8, 8),),
    names=(),
    tile_shape=(8, 8),
    channels=3,
)
_INVALID_CODES = {"other_crc_of_codes", "code_above_its_codebook", "other_size_of_an_image"}
# Code probabilities, the same at all positions, in float32 like those of a prior.
_PROBABILITIES = (0.5, 0.25, 0.125, 0.0625, 0.03125, 0.03125)


def _codes(header: Header) -> np.ndarray:
    """Returns deterministic codes that cover the whole codebook."""
    shape = (header.tiles, *header.grid_shape)
    stages = np.arange(int(np.prod(shape))).reshape(-1, len(header.codebook_sizes))
    return (stages * 2654435761 % 2**32 % np.array(header.codebook_sizes)).reshape(shape)


def valid() -> dict[str, tuple[Header, np.ndarray, bytes]]:
    """Returns the header, codes and payload of each valid file, by name."""
    headers = {
        "one_image": _BASE,
        "sizes_and_names": _BASE._replace(
            image_shapes=((8, 8), (8, 8), (13, 21), (3, 30), (1, 1)),
            names=("a-001.png", "a-002.png", "", "ä/ö.png", "ä/ö.png"),
            model_origin="preset vqvae_example",
        ),
        "odd_codebook": _BASE._replace(codebook_sizes=(5,), grid_shape=(3, 1), channels=1),
        "stages": _BASE._replace(codebook_sizes=(8, 1, 300), grid_shape=(2, 2, 3)),
        "codes_of_no_bits": _BASE._replace(codebook_sizes=(1,), image_shapes=((8, 8),) * 20),
        "many_images": _BASE._replace(
            codebook_sizes=(2,), grid_shape=(1,), image_shapes=((8, 8),) * 300 + ((5, 5),)
        ),
        "largest_code": _BASE._replace(codebook_sizes=(2**31 - 1,), grid_shape=(1, 1, 1, 2)),
    }
    coded = _BASE._replace(
        coder=RANGE_CODED,
        prior=_PRIOR,
        prior_origin="prior.keras",
        backend="jax",
        batch_size=128,
        codebook_sizes=(len(_PROBABILITIES),),
        image_shapes=((20, 20),),
    )
    made = {}
    for name, header in headers.items():
        codes = _codes(header)
        payload = pack_codes(codes, header.codebook_sizes)
        made[name] = (header.with_crc_of(codes), codes, payload)
    codes = _codes(coded)
    made["range_coded"] = (coded.with_crc_of(codes), codes, range_coded(codes))
    certain = coded._replace(codebook_sizes=(2,), image_shapes=((8, 8),) * 200, batch_size=16)
    codes = np.zeros((200, 2, 2), "int64")
    # Nearly certain codes take one word, but the format requires a longer payload.
    payload = range_coded(codes, (0.9999999, 1e-7))
    made["range_coded_short"] = (certain.with_crc_of(codes), codes, payload)
    return {
        name: (header, codes, payload.ljust(shortest_payload(header), b"\0"))
        for name, (header, codes, payload) in made.items()
    }


def probabilities(name: str) -> tuple[float, ...] | None:
    """Returns the code probabilities of a range-coded file, or None for packed files."""
    return {"range_coded": _PROBABILITIES, "range_coded_short": (0.9999999, 1e-7)}.get(name)


def range_coded(codes: np.ndarray, shares: tuple[float, ...] = _PROBABILITIES) -> bytes:
    """Encodes codes with the range coder, with the same probabilities at all positions."""
    import constriction

    encoder = constriction.stream.queue.RangeEncoder()
    model = constriction.stream.model.Categorical(perfect=False)
    rows = np.tile(np.array(shares, "float32"), (codes.size, 1))
    encoder.encode(codes.ravel().astype("int32"), model, rows)
    return encoder.get_compressed().astype("<u4").tobytes()


def invalid() -> dict[str, bytes]:
    """Returns files that a reader must reject, by reason."""
    header, _, payload = valid()["one_image"]
    whole = write_file(header, payload)
    rest = whole[8:]
    runs, few_codes = b"\x01\x01\x08\x08", b"\x01\x10" + b"\x01\x01\x08\x08"

    def changed(old: bytes, new: bytes) -> bytes:
        assert rest.count(old) == 1, old
        return _sealed(rest.replace(old, new))

    coded, _, coded_payload = valid()["range_coded"]
    origins = write_file(header._replace(model_origin="x"), payload)[8:]
    named = write_file(header._replace(image_shapes=((8, 8),) * 2, names=("ab", "ac")), bytes(4))[
        8:
    ]
    return {
        "empty": b"",
        "other_magic": b"\x89PNG" + whole[4:],
        "version_1": whole[:3] + b"\x01" + whole[4:],
        "version_3": whole[:3] + b"\x03" + whole[4:],
        "cut_in_the_start": whole[:7],
        "cut_in_the_header": _sealed(rest[:20]),
        "cut_in_the_codes": _sealed(rest[:-1]),
        "longer_than_its_codes": _sealed(rest + b"\0"),
        "flipped_bit": whole[:-1] + bytes([whole[-1] ^ 1]),
        "other_crc_of_codes": _sealed(bytes([rest[0] ^ 1]) + rest[1:]),
        "unknown_coder": _sealed(rest[:4] + b"\x02" + rest[5:]),
        "million_images": changed(runs, b"\x01\x80\x80\x40\x08\x08"),
        "more_than_a_million_images": changed(runs, b"\x01\x81\x80\x40\x08\x08"),
        "other_size_of_an_image": changed(runs, b"\x01\x01\x08\x07"),
        "image_without_height": changed(runs, b"\x01\x01\x00\x08"),
        "image_too_wide": changed(runs, b"\x01\x01\x08\x80\x80\x04"),
        "no_images": changed(runs, b"\x00"),
        "one_size_in_two_parts": changed(runs, b"\x02" + runs[1:] * 2),
        "number_in_too_many_bytes": changed(runs, b"\x01\x81\x00\x08\x08"),
        "number_without_end": changed(runs, b"\x01\xff\xff\xff\xff\xff\xff"),
        "codebook_of_no_codes": changed(few_codes, b"\x01\x00" + runs),
        "no_codebook": changed(few_codes, b"\x00" + runs),
        "stages_that_do_not_divide_codes": changed(few_codes, b"\x03\x10\x10\x10" + runs),
        "code_above_its_codebook": changed(few_codes, b"\x01\x09" + runs),
        "tile_of_no_pixels": changed(b"\x08\x08\x03\x02", b"\x00\x08\x03\x02"),
        "no_channels": changed(b"\x08\x08\x03\x02", b"\x08\x08\x00\x02"),
        "codes_of_five_dimensions": changed(b"\x02\x02\x02", b"\x05\x02\x02\x01\x01\x01"),
        "origin_too_long": _sealed(origins.replace(b"\x01x", b"\x41" + b"x" * 65)),
        "origin_no_utf8": _sealed(origins.replace(b"\x01x", b"\x02\xc3\x28")),
        "mark_of_names": changed(runs + b"\x00", runs + b"\x02"),
        "names_missing": changed(runs + b"\x00", runs + b"\x01"),
        "name_no_utf8": _sealed(named.replace(b"\x01\x01c", b"\x01\x01\xff")),
        "name_shares_too_little": _sealed(named.replace(b"\x01\x01c", b"\x00\x02ac")),
        "name_shares_too_much": _sealed(named.replace(b"\x01\x01c", b"\x03\x01c")),
        "unknown_backend": _sealed(
            write_file(coded, coded_payload)[8:].replace(b"\x01\x07", b"\x03\x07")
        ),
        "batch_size_of_2048": _sealed(
            write_file(coded, coded_payload)[8:].replace(b"\x01\x07", b"\x01\x0b")
        ),
        "range_coded_no_whole_words": write_file(coded, coded_payload + b"\0"),
        "range_coded_too_short": write_file(valid()["range_coded_short"][0], bytes(8)),
    }


def _sealed(rest: bytes) -> bytes:
    return b"KVQ\x02" + struct.pack("<I", zlib.crc32(rest)) + rest


def described(header: Header, codes: np.ndarray) -> dict[str, Any]:
    """Returns the header and the codes as JSON values."""
    texts = {name: value.hex() for name, value in header._asdict().items() if type(value) is bytes}
    return {**header._asdict(), **texts, "codes": codes.ravel().tolist()}


def manifest() -> dict[str, Any]:
    """Returns the expected content of all files."""
    return {
        "valid": {
            name: {
                **described(header, codes),
                **({"probabilities": probabilities(name)} if probabilities(name) else {}),
            }
            for name, (header, codes, _) in valid().items()
        },
        # Rejected before the codes are decoded, and during decoding.
        "invalid": sorted(invalid().keys() - _INVALID_CODES),
        "invalid_codes": sorted(_INVALID_CODES),
    }


def main() -> None:
    """Writes all files."""
    for name, (header, _, payload) in valid().items():
        (FOLDER / f"{name}.kvq").write_bytes(write_file(header, payload))
    for name, data in invalid().items():
        (FOLDER / f"invalid_{name}.kvq").write_bytes(data)
    (FOLDER / "manifest.json").write_text(
        json.dumps(manifest(), ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
