"""Selection of the fastest nearest-code search by timing."""

import logging
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import ops

from keras_vq._types import Search, Tensor

# Minimum number of scores for which compiling a kernel pays off.
LEAST_SCORES = 2**18

_TURNS = 5
# Number of vectors whose codes are compared.
_COMPARED = 4096
# Tolerance of distances, relative to squared norms: met in float32, but not in plain TF32.
_TOLERANCE = 1e-5

_LOG = logging.getLogger("keras_vq")


def fastest(
    searches: Mapping[str, Search], vectors: Tensor, embeddings: Tensor, wait: Callable[[Any], None]
) -> str:
    """Returns the name of the fastest search that finds codes as near as those of the first one.

    A search that fails, or finds more distant codes, is skipped with a log message.

    Args:
        searches: Mapping from names to searches. The first one is the reference.
        vectors: Float32 tensor of shape `(n, dim)`.
        embeddings: Float32 tensor of shape `(codebook_size, dim)`. Code vectors.
        wait: Callable that blocks until a result is computed.
    """
    trusted = next(iter(searches))
    nearest = searches[trusted](vectors, embeddings)
    seconds = {}
    for name, search in searches.items():
        try:
            found = search(vectors, embeddings)
            wait(found)
            if excess(found, nearest, vectors, embeddings) > _TOLERANCE:
                _LOG.warning("The search %s finds other codes than %s: unused", name, trusted)
                continue
            seconds[name] = _median_seconds(search, vectors, embeddings, wait)
        except Exception as error:  # compilers and drivers raise errors of many types
            if name == trusted:
                raise
            _LOG.info("The search %s does not run here: %s", name, error)
    best = min(seconds, key=lambda name: seconds[name])
    _LOG.info(
        "%s vectors, %s codes: %s is fastest (%s)",
        tuple(vectors.shape),
        len(embeddings),
        best,
        ", ".join(f"{name} {1000 * taken:.3f} ms" for name, taken in seconds.items()),
    )
    return best


def excess(found: Tensor, nearest: Tensor, vectors: Tensor, embeddings: Tensor) -> float:
    """Computes the largest excess squared distance of found codes, relative to |x|² + |e|²."""
    rows, other, best = (
        ops.convert_to_numpy(tensor[:_COMPARED]) for tensor in (vectors, found, nearest)
    )
    if other.shape != best.shape or other.min() < 0 or other.max() >= len(embeddings):
        return float("inf")
    rows, embeddings = rows.astype("float64"), ops.convert_to_numpy(embeddings)
    farther = np.square(rows - embeddings[other]).sum(1) - np.square(rows - embeddings[best]).sum(1)
    squares = np.square(rows).sum(1) + np.square(embeddings[best]).sum(1)
    return float(np.max(farther / np.maximum(squares, np.finfo("float32").tiny)))


def _median_seconds(
    search: Search, vectors: Tensor, embeddings: Tensor, wait: Callable[[Any], None]
) -> float:
    turns = []
    for _ in range(_TURNS):
        start = time.perf_counter()
        wait(search(vectors, embeddings))
        turns.append(time.perf_counter() - start)
    return statistics.median(turns)
