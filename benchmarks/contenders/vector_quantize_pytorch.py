"""The package vector-quantize-pytorch with its defaults: its rotation trick, moving averages."""

from collections.abc import Callable

import torch

from benchmarks.contenders import inputs


def make(vectors: int, dim: int, codes: int, compiled: bool = False) -> Callable[[], object]:
    """A step, eager or through torch.compile."""
    from vector_quantize_pytorch import VectorQuantize

    layer = VectorQuantize(dim=dim, codebook_size=codes).train()
    called = torch.compile(layer) if compiled else layer
    x = torch.from_numpy(inputs(vectors, dim))[None].requires_grad_(True)

    def step() -> None:
        x.grad = None
        quantized, _, loss = called(x)
        (quantized.sum() + loss.sum()).backward()

    return step
