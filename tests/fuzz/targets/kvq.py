"""Fuzz target of `.kvq` files, packed and range-coded."""

import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.targets.base import SilentlyWrong, Target

_START = 8
_SIZES = ((8, 8, 1), (13, 21, 1), (8, 8, 1), (3, 30, 1))
_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 64, 127, 128, 255, 256, 1000)
_HUGE = (2**14, 2**16 - 1, 2**16, 2**20, 2**20 + 1, 2**24, 2**31 - 1, 2**31, 2**35 - 1)
_TEXTS = ("", "a", "../../x", "\0", "\x1b[31m", "a[/x]", "é" * 40, "x" * 64, "x" * 65, "x" * 1100)


class Case(NamedTuple):
    """Mutated file, and the index of its original."""

    data: bytes
    original: int
    way: str  # raw, repaired, fields, or forged: with the checksum of the codes repaired as well


class KvqTarget(Target):
    """Files of a small model, decoded by `ImageCodec`."""

    cases = 4_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import keras

        import keras_vq
        from keras_vq.codec import CorruptFileError, ImageCodec, container

        keras.utils.set_random_seed(0)
        self.container = container
        self.documented = (CorruptFileError, ValueError)
        encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(4, 4), latent_dim=2)
        model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
        prior = keras_vq.priors.PixelCNNPrior.for_model(model, hidden_dim=4, num_layers=1, seed=0)
        # Time and memory are proportional to the pixels, so limit them as for untrusted files.
        options = {"batch_size": 16, "max_pixels": 2**16}
        self.codec = ImageCodec(model, prior, **options, model_origin="run", prior_origin="p")
        rng = np.random.default_rng(0)
        images = [rng.random(size, "float32") for size in _SIZES]
        names = ["a-1.png", "a-2.png", "ä.png", ""]
        self.originals: list[bytes] = []
        self.codes: list[np.ndarray] = []
        self.images: list[list[np.ndarray]] = []
        # The first half is packed, the second half range-coded.
        for codec in (ImageCodec(model), self.codec):
            for count, given in ((4, names), (2, None), (1, names[:1])):
                data = codec.compress(images[:count], given)
                self.originals.append(data)
                self.codes.append(self.codec.decompress_codes(data))
                self.images.append(self.codec.decompress(data))
        # Compile each batch size here, not in a case.
        for size in container.BATCH_SIZES:
            header, payload = container.read_file(self.originals[-1])
            header = header._replace(batch_size=size).with_crc_of(self.codes[-1])
            try:
                self.codec.decompress(container.write_file(header, payload))
            except ValueError:
                continue  # probabilities can differ with the batch size

    def make(self, rng: np.random.Generator) -> Case:
        """Returns a mutated file; the checksum of half of them is repaired."""
        original = int(rng.integers(len(self.originals)))
        data = self.originals[original]
        way = ("raw", "raw", "raw", "repaired", "fields", "forged")[int(rng.integers(6))]
        if way == "raw":
            return Case(mutations.mutate(data, rng, self.originals), original, way)
        if way == "repaired":
            rests = [other[_START:] for other in self.originals]
            rest = mutations.mutate(data[_START:], rng, rests)
            return Case(_sealed(data, rest), original, way)
        return Case(self._edited(original, way == "forged", rng), original, way)

    def kind(self, case: Case) -> str:
        """Returns the coder of the original and the kind of mutation."""
        coder = "packed" if case.original < len(self.originals) // 2 else "coded"
        return f"{coder}, {case.way}"

    def run(self, case: Case) -> str:
        """Decodes the file; its images must be those of an original.

        A file with a forged checksum of codes is a valid file of other images.
        """
        made = self.codec.decompress(case.data)
        if any(_equal(made, images) for images in self.images):
            return "equal"
        if case.way == "forged":
            return "another valid file"
        raise SilentlyWrong(f"{len(made)} images that no original has")

    def _edited(self, original: int, forged: bool, rng: np.random.Generator) -> bytes:
        """Returns a file with one to three header fields replaced."""
        data, codes = self.originals[original], self.codes[original]
        header, payload = self.container.read_file(data)
        for _ in range(int(rng.integers(1, 4))):
            header = header._replace(**_field(header, rng))
        try:
            if forged:
                header = header.with_crc_of(codes)
            if rng.random() < 0.5:
                # The length declared in the header, if it is short.
                length = self.container.shortest_payload(header)
                payload = payload.ljust(length, b"\0")[:length] if length < 4096 else payload
            rest = header.to_bytes() + payload
        except (ValueError, ZeroDivisionError, struct.error):
            # The header can't be written.
            rest = mutations.mutate(data[_START:], rng)
        if rng.random() < 0.2:
            rest = mutations.mutate(rest, rng, most=1)
        return _sealed(data, rest)


def _field(header: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Returns a header field with an extreme value."""

    def number() -> int:
        numbers = _HUGE if rng.random() < 0.3 else _NUMBERS
        return int(numbers[int(rng.integers(len(numbers)))])

    def text() -> str:
        return _TEXTS[int(rng.integers(len(_TEXTS)))]

    def numbers(most: int) -> tuple[int, ...]:
        return tuple(number() for _ in range(int(rng.integers(0, most))))

    shapes = header.image_shapes
    few = tuple((number(), number()) for _ in range(int(rng.integers(0, 4))))
    values: dict[str, Any] = {
        "coder": int(rng.integers(0, 4)),
        "model": rng.bytes(8),
        "prior": rng.bytes(8),
        "backend": ("tensorflow", "jax", "torch")[int(rng.integers(3))],
        "batch_size": 1 << int(rng.integers(0, 13)),
        "codes_crc": int(rng.integers(2**32)),
        "codebook_sizes": numbers(4),
        "grid_shape": numbers(6),
        "image_shapes": (few, shapes * min(number(), 1000), shapes[:-1], few + shapes)[
            int(rng.integers(4))
        ],
        "names": tuple(text() for _ in range(int(rng.integers(0, 2)) * len(shapes))),
        "tile_shape": (number(), number()),
        "channels": number(),
        "model_origin": text(),
        "prior_origin": text(),
    }
    # Image sizes have the largest effect on time and memory.
    name = ("image_shapes", *values)[int(rng.integers(len(values) + 1))]
    return {name: values[name]}


def _sealed(data: bytes, rest: bytes) -> bytes:
    return data[:4] + struct.pack("<I", zlib.crc32(rest)) + rest


def _equal(made: list[Any], images: list[Any]) -> bool:
    return len(made) == len(images) and all(
        np.array_equal(a, b) for a, b in zip(made, images, strict=True)
    )
