"""Search with the full distance matrix and argmin, in PyTorch."""

from collections.abc import Callable

import torch

from benchmarks.contenders import inputs
from benchmarks.contenders.torch_device import DEVICE, wait


def make(vectors: int, dim: int, codes: int, compiled: bool = False) -> Callable[[], object]:
    """Builds the nearest-code search, eager or with torch.compile; no training."""
    x, codebook = (torch.from_numpy(inputs(count, dim)).to(DEVICE) for count in (vectors, codes))
    nearest = torch.compile(_nearest) if compiled else _nearest

    def step() -> None:
        nearest(x, codebook)
        wait()

    return step


def _nearest(x: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    return torch.cdist(x, codebook).argmin(1)
