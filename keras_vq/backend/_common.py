"""Helper functions that do not depend on the backend."""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from keras_vq._types import Search, Tensor


class SearchBlocks(NamedTuple):
    """Block sizes of the nearest-code search."""

    codes: int  # maximum number of codes per block
    scores: int  # scores per block; more if the block would have too few vectors


def fused_search_blocks(shape: Sequence[int | None]) -> SearchBlocks:
    """Returns block sizes for loops that XLA compiles.

    XLA's loops are fastest with blocks that fit into the private cache of a core.
    """
    codes = shape[-1]
    return SearchBlocks(codes=1024, scores=2**17 if codes and codes <= 1024 else 2**18)


def search_rows(search: Search, vectors: Tensor, codes: Tensor) -> Tensor:
    """Applies a search of vectors `(n, dim)` to vectors `(..., dim)`."""
    rows = ops.reshape(vectors, (-1, vectors.shape[-1]))
    return ops.reshape(search(rows, codes), ops.shape(vectors)[:-1])


def without_autotune(data: Any) -> Any:
    """Disables autotuning of a `tf.data` pipeline; returns other data unchanged.

    At the end of each epoch, a pipeline with autotuning waits for its tuning thread, which sleeps
    for 10 ms, 20 ms, 40 ms and so on, up to a minute. A pipeline for which the user has set the
    option keeps it.
    """
    # A pipeline exists only if TensorFlow is imported, which would otherwise take seconds.
    tf = sys.modules.get("tensorflow")
    if tf is None or not isinstance(data, tf.data.Dataset):
        return data
    options = tf.data.Options()
    if data.options().autotune.enabled is None:
        options.autotune.enabled = False
    return data.with_options(options)
