"""Tests with the conformance files, for the package and an independent reader."""

import json
import struct
import zlib

import numpy as np
import pytest

from keras_vq.codec import CorruptFileError, container
from tests.codec.conformance import make

pytestmark = pytest.mark.backend_free

MANIFEST = json.loads((make.FOLDER / "manifest.json").read_text(encoding="utf-8"))
VALID, INVALID = MANIFEST["valid"], MANIFEST["invalid"] + MANIFEST["invalid_codes"]


def file(name):
    return (make.FOLDER / f"{name}.kvq").read_bytes()


def test_the_files_are_those_of_the_manifest():
    assert {path.stem for path in make.FOLDER.glob("*.kvq")} == {
        *VALID,
        *(f"invalid_{name}" for name in INVALID),
    }
    assert all(path.stat().st_size < 400 for path in make.FOLDER.glob("*.kvq"))


@pytest.mark.parametrize("name", VALID)
def test_headers_and_codes_are_those_of_the_manifest(name):
    header, payload = container.read_file(file(name))
    if header.coder == container.PACKED:
        codes = container.unpacked(header, payload)
    else:
        codes = decoded(payload, VALID[name]["probabilities"], header.tiles * 4)
        codes = codes.reshape(header.tiles, *header.grid_shape)
    assert header.with_crc_of(codes) == header
    found = {**make.described(header, codes)}
    if header.coder == container.RANGE_CODED:
        found["probabilities"] = VALID[name]["probabilities"]
    assert json.loads(json.dumps(found)) == VALID[name]


@pytest.mark.parametrize("name", VALID)
def test_the_same_codes_give_the_same_bytes(name):
    entry = dict(VALID[name])
    codes = np.array(entry.pop("codes"))
    shares = entry.pop("probabilities", None)
    texts = {key: bytes.fromhex(entry[key]) for key in ("model", "prior")}
    tuples = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    tuples["image_shapes"] = tuple(map(tuple, entry["image_shapes"]))
    header = container.Header(**{**entry, **texts, **tuples})
    codes = codes.reshape(header.tiles, *header.grid_shape)
    if shares is None:
        payload = container.pack_codes(codes, header.codebook_sizes)
    else:
        payload = make.range_coded(codes, shares)
    payload = payload.ljust(container.shortest_payload(header), b"\0")
    assert container.write_file(header.with_crc_of(codes), payload) == file(name)


@pytest.mark.parametrize("name", MANIFEST["invalid"])
def test_invalid_files_are_refused_before_their_codes_are_read(name):
    with pytest.raises(CorruptFileError):
        container.read_file(file(f"invalid_{name}"))


@pytest.mark.parametrize("name", MANIFEST["invalid_codes"])
def test_invalid_codes_are_refused(name):
    header, payload = container.read_file(file(f"invalid_{name}"))
    try:
        codes = container.unpacked(header, payload)
    except CorruptFileError:
        return
    assert header.with_crc_of(codes) != header


def decoded(payload, probabilities, count):
    """Decodes as specified: 64-bit state, 32-bit words, 24-bit probabilities."""
    words = list(struct.unpack(f"<{len(payload) // 4}I", payload))
    shares = np.array(probabilities, "float32")
    cumulative = np.zeros(len(shares), "float32")
    for k in range(1, len(shares)):
        cumulative[k] = cumulative[k - 1] + shares[k - 1]
    total = cumulative[-1] + shares[-1]
    scale = np.float32(2**24 - len(shares)) / total
    left = [int(np.float32(c * scale)) + k for k, c in enumerate(cumulative)] + [2**24]
    lower, width, point = 0, 2**64 - 1, 0
    for _ in range(2):
        point = point << 32 | (words.pop(0) if words else 0)
    codes = []
    for _ in range(count):
        step = width >> 24
        quantile = (point - lower) % 2**64 // step
        assert quantile < 2**24
        code = next(k for k in range(len(shares)) if quantile < left[k + 1])
        codes.append(code)
        lower = (lower + step * left[code]) % 2**64
        width = step * (left[code + 1] - left[code])
        if width < 2**32:
            width = width << 32
            lower = lower << 32 & 2**64 - 1
            point = (point << 32 & 2**64 - 1) | (words.pop(0) if words else 0)
    return np.array(codes)


class Reader:
    """Minimal reader written from the specification; it checks only the checksums."""

    def __init__(self, data):
        self.data, self.place = data, 8
        assert data[:4] == b"KVQ\x02"
        assert struct.unpack("<I", data[4:8])[0] == zlib.crc32(data[8:])

    def take(self, count):
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def header(self):
        found = {"codes_crc": struct.unpack("<I", self.take(4))[0]}
        found["coder"] = self.take(1)[0]
        found["model"] = self.take(8).hex()
        found["model_origin"] = self.take(self.number()).decode()
        found["tile_shape"] = [self.number(), self.number()]
        found["channels"] = self.number()
        found["grid_shape"] = [self.number() for _ in range(self.number())]
        found["codebook_sizes"] = [self.number() for _ in range(self.number())]
        found["image_shapes"] = []
        for _ in range(self.number()):
            count, height, width = self.number(), self.number(), self.number()
            found["image_shapes"] += [[height, width]] * count
        found.update(prior="", prior_origin="", backend="", batch_size=0, names=[])
        if found["coder"]:
            found["prior"] = self.take(8).hex()
            found["prior_origin"] = self.take(self.number()).decode()
            found["backend"] = ("tensorflow", "jax", "torch")[self.take(1)[0]]
            found["batch_size"] = 1 << self.take(1)[0]
        name = b""
        if self.take(1)[0]:
            for _ in found["image_shapes"]:
                name = name[: self.number()] + self.take(self.number())
                found["names"].append(name.decode())
        return found

    def codes(self, sizes, count):
        """Unpacks codes."""
        bits = iter("".join(f"{byte:08b}" for byte in self.data[self.place :]))
        found = []
        for index in range(count):
            width = (sizes[index % len(sizes)] - 1).bit_length()
            found.append(int("0" + "".join(next(bits) for _ in range(width)), 2))
        return found


@pytest.mark.parametrize("name", VALID)
def test_a_second_reader_finds_the_same(name):
    entry = dict(VALID[name])
    codes, shares = entry.pop("codes"), entry.pop("probabilities", None)
    reader = Reader(file(name))
    start = reader.place + 4
    assert reader.header() == entry
    rest = reader.data[start : reader.place]
    if shares is None:
        found = reader.codes(entry["codebook_sizes"], len(codes))
    else:
        found = decoded(reader.data[reader.place :], shares, len(codes)).tolist()
    assert found == codes
    assert entry["codes_crc"] == zlib.crc32(rest + struct.pack(f"<{len(codes)}i", *codes))
