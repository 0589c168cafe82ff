"""Fuzz target of Gaussian mixture files (`.npz`): archive, arrays and configuration."""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.targets.base import SilentlyWrong, Target


class Case(NamedTuple):
    """Mutated file, and its mutated part."""

    data: bytes
    kind: str


class PriorFileTarget(Target):
    """Files loaded by `GaussianMixturePrior.load`, and generation from the loaded prior."""

    cases = 5_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import keras_vq

        self.prior = keras_vq.priors.GaussianMixturePrior
        fitted = self.prior(3)
        fitted.fit(np.random.default_rng(0).normal(size=(60, 2)).astype("float32"))
        fitted.save(folder / "prior.npz")
        self.original = (folder / "prior.npz").read_bytes()
        with zipfile.ZipFile(io.BytesIO(self.original)) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}

    def make(self, rng: np.random.Generator) -> Case:
        """Returns a mutated archive, or one with a mutated member and valid checksums."""
        if rng.random() < 0.3:
            return Case(mutations.mutate(self.original, rng), "archive")
        members = dict(self.members)
        name = list(members)[int(rng.integers(len(members)))]
        members[name] = mutations.mutate(members[name], rng, list(members.values()))
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return Case(file.getvalue(), name.removesuffix(".npy"))

    def kind(self, case: Case) -> str:
        """Returns the mutated part."""
        return case.kind

    def run(self, case: Case) -> str:
        """Loads the prior and samples latents."""
        path = self.folder / "case.npz"
        path.write_bytes(case.data)
        prior = self.prior.load(path)
        latents = prior.generate(2, seed=0)
        if len(latents) != 2 or not np.isfinite(latents).all():
            raise SilentlyWrong(f"latents of shape {latents.shape}, or not finite")
        return "loaded"
