"""Training steps of quantizers, ours and others': each file has one `make`.

A step is what training does with a quantizer: the nearest codes, the quantized vectors with their
straight-through gradient, the commitment loss, the gradient of both by the inputs, and the update
of the codebook by moving averages (or its gradient, where the code learns so).
"""

import numpy as np


def inputs(vectors: int, dim: int) -> np.ndarray:
    """The vectors that every contender quantizes."""
    return np.random.default_rng(0).normal(size=(vectors, dim)).astype("float32")
