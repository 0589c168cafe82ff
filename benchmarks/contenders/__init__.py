"""Training steps of quantizers in this and other packages: each file has one `make`.

A step consists of the nearest-code search, the quantized vectors with straight-through gradient,
the commitment loss, the gradient of both with respect to the inputs, and the EMA update of the
codebook (or its gradient, for codebooks trained by gradient).
"""

import numpy as np


def inputs(vectors: int, dim: int) -> np.ndarray:
    """Returns the vectors that every contender quantizes."""
    return np.random.default_rng(0).normal(size=(vectors, dim)).astype("float32")
