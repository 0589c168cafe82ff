"""Mutated `.kvq` files, packed and range-coded."""

import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.targets.base import SilentlyWrong, Target

_START = struct.Struct("<3sBI")


class Case(NamedTuple):
    """A mutated file, and the original that it was made from."""

    data: bytes
    original: int
    repaired: bool


class KvqTarget(Target):
    """Files of a small model, decoded by `ImageCodec`."""

    cases = 2_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import keras

        import keras_vq
        from keras_vq.codec import CorruptFileError, ImageCodec

        keras.utils.set_random_seed(0)
        encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(4, 4), latent_dim=2)
        model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
        prior = keras_vq.priors.PixelCNNPrior.for_codes_of(model, dim=4, depth=1, seed=0)
        self.codec = ImageCodec(model, prior, batch_size=16)
        self.documented = (CorruptFileError, ValueError)
        rng = np.random.default_rng(0)
        images = [rng.random(size, "float32") for size in ((8, 8, 1), (13, 21, 1), (8, 8, 1))]
        names = ["a.png", "b.png", "ä.png"]
        self.originals: list[bytes] = []
        for codec in (ImageCodec(model), self.codec):
            self.originals += [codec.compress(images, names), codec.compress(images[:2])]
        self.images = [self.codec.decompress(data) for data in self.originals]

    def make(self, rng: np.random.Generator) -> Case:
        """Returns a mutated file; the checksum of half of them is repaired."""
        original = int(rng.integers(len(self.originals)))
        data = mutations.mutate(self.originals[original], rng, self.originals)
        repaired = bool(rng.random() < 0.5) and len(data) > _START.size
        if repaired:
            data = self.originals[0][:4] + struct.pack("<I", zlib.crc32(data[8:])) + data[8:]
        return Case(data, original, repaired)

    def kind(self, case: Case) -> str:
        """Returns the coder of the original, and the checksum's state."""
        coder = "packed" if case.original < len(self.originals) // 2 else "coded"
        return f"{coder}, {'repaired' if case.repaired else 'raw'}"

    def run(self, case: Case) -> str:
        """Decodes the file; what it holds must be the images of the original or of another one."""
        made = self.codec.decompress(case.data)
        if not any(_equal(made, images) for images in self.images):
            raise SilentlyWrong(f"{len(made)} images that no original has")
        return "equal"


def _equal(made: list[Any], images: list[Any]) -> bool:
    return len(made) == len(images) and all(
        np.array_equal(a, b) for a, b in zip(made, images, strict=True)
    )
