"""vector-quantize-pytorch with its defaults: rotation trick and EMA."""

from collections.abc import Callable

import torch

from benchmarks.contenders import inputs
from benchmarks.contenders.torch_device import DEVICE, wait


def make(vectors: int, dim: int, codes: int, compiled: bool = False) -> Callable[[], object]:
    """Builds a step, eager or with torch.compile."""
    from vector_quantize_pytorch import VectorQuantize

    layer = VectorQuantize(dim=dim, codebook_size=codes).to(DEVICE).train()
    called = torch.compile(layer) if compiled else layer
    x = torch.from_numpy(inputs(vectors, dim)).to(DEVICE)[None].requires_grad_(True)

    def step() -> None:
        x.grad = None
        quantized, _, loss = called(x)
        (quantized.sum() + loss.sum()).backward()
        wait()

    return step
