"""Search with faiss."""

from collections.abc import Callable

import numpy as np

from benchmarks.contenders import inputs


def make(vectors: int, dim: int, codes: int) -> Callable[[], object]:
    """Builds the nearest-code search; no training."""
    import faiss

    index = faiss.IndexFlatL2(dim)
    index.add(np.random.default_rng(1).normal(size=(codes, dim)).astype("float32"))
    x = inputs(vectors, dim)
    return lambda: index.search(x, 1)
