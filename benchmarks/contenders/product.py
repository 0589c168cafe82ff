"""Bare matrix product of vectors and code vectors into preallocated memory: the lower bound."""

from collections.abc import Callable

import torch

from benchmarks.contenders import inputs
from benchmarks.contenders.torch_device import DEVICE, wait


def make(vectors: int, dim: int, codes: int) -> Callable[[], object]:
    """Builds the product, in one piece if it fits into memory, otherwise in blocks of rows."""
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
