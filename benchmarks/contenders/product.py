"""The bare product of vectors and codes, into memory that is there already: what all must do."""

from collections.abc import Callable

import torch

from benchmarks.contenders import inputs
from benchmarks.contenders.torch_device import DEVICE, wait


def make(vectors: int, dim: int, codes: int) -> Callable[[], object]:
    """The product, all at once where it fits into memory, else by blocks of rows."""
    x = torch.from_numpy(inputs(vectors, dim)).to(DEVICE)
    codebook = torch.randn(codes, dim, device=DEVICE).T.contiguous()
    rows = max(1, min(vectors, 2**28 // codes))
    out = torch.empty(rows, codes, device=DEVICE)

    def step() -> None:
        for start in range(0, vectors, rows):
            part = x[start : start + rows]
            torch.mm(part, codebook, out=out[: len(part)])
        wait()

    return step
