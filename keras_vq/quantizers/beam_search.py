"""Beam search over the stages of a residual quantizer."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_vq._types import Tensor


def beam_search(quantizers: Sequence[Any], vectors: Tensor, beam: int) -> Tensor:
    """Finds one code per stage such that the sum of the code vectors is close to each vector.

    Each stage extends every partial sum by its `beam` nearest code vectors and keeps the `beam`
    sums that are closest to the vector.

    Args:
        quantizers: List of stages, each with a method `nearest_codes`.
        vectors: Float32 tensor of shape `(..., dim)`.
        beam: Integer. Number of partial sums to keep.

    Returns:
        Int32 tensor of codes of shape `(..., stages)`.
    """
    dim = vectors.shape[-1]
    flat = ops.reshape(vectors, (-1, 1, dim))
    residuals = flat
    paths: Tensor | None = None
    for stage, quantizer in enumerate(quantizers):
        count = min(beam, quantizer.codebook_size)
        extra = {"context": flat - residuals} if quantizer._takes_context and stage else {}
        quantized, codes = quantizer.nearest_codes(residuals, count, **extra)
        candidates = residuals.shape[1] * count
        left = ops.reshape(residuals[:, :, None, :] - quantized, (-1, candidates, dim))
        errors = ops.sum(ops.square(left), axis=-1)
        kept = ops.top_k(-errors, min(beam, candidates))[1]
        residuals = ops.take_along_axis(left, kept[..., None], axis=1)
        chosen = ops.take_along_axis(ops.reshape(codes, (-1, candidates)), kept, axis=1)
        if paths is None:
            paths = chosen[..., None]
        else:
            before = ops.take_along_axis(paths, (kept // count)[..., None], axis=1)
            paths = ops.concatenate([before, chosen[..., None]], axis=-1)
    assert paths is not None  # there is at least one stage
    return ops.reshape(paths[:, 0, :], (*ops.shape(vectors)[:-1], len(quantizers)))
