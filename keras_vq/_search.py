"""Nearest-code search in blocks, with bounded memory."""

from collections.abc import Callable

from keras import ops

from keras_vq import backend
from keras_vq._export_mode import is_traced_for_export, ranks_for_argmax
from keras_vq._types import Tensor

# Maximum number of scores held at a time (4 MiB of float32), so that memory does not grow with
# vectors x codes.
SCORES_PER_BLOCK = 2**20

# Minimum number of vectors per block: fewer would read each block of codes for little work.
_LEAST_ROWS_PER_BLOCK = 128

# Two-level argmax: maximum number of codes per group, and the number of groups below which groups
# get smaller instead of fewer.
_CODES_OF_GROUP, _GROUPS = 16, 32

# Number of code vectors sampled by `code_center`, and the ranks of their quartiles.
_SAMPLED, _QUARTILES = 31, (7, 15, 23)

# Bias of padding: below every real score, and finite, since infinity times zero is NaN.
_NEVER = -3e38


def code_center(embeddings: Tensor) -> Tensor:
    """Computes the center that is subtracted from vectors and code vectors before their product.

    The product of vectors with a large common offset loses their differences to rounding. The
    center is the median of 31 code vectors, rounded to a multiple of a power of two above twice
    their interquartile range. It is exactly 0 for code vectors around zero, even if up to a quarter
    of them are outliers. Otherwise it has few digits, so that the subtraction is exact for code
    vectors near it. Clusters far apart have no common offset: their distances keep an error of
    about `dim * 6e-8` times the squared range.

    Args:
        embeddings: Float32 tensor of shape `(codebook_size, dim)`. Code vectors.

    Returns:
        Float32 tensor of shape `(dim,)`, without a gradient.
    """
    embeddings = ops.stop_gradient(ops.convert_to_tensor(embeddings))
    places = ops.arange(0, _SAMPLED, dtype="int32") * ops.shape(embeddings)[0] // _SAMPLED
    ranked = ops.top_k(ops.transpose(ops.take(embeddings, places, axis=0)), _SAMPLED)[0]
    upper, median, lower = (ranked[:, rank] for rank in _QUARTILES)
    # Adding 2^25 times the range rounds the median to a multiple of two to four times the range.
    large = 2.0**25 * (upper - lower)
    return median + large - large


def centered(vectors: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    center = code_center(embeddings)
    return ops.convert_to_tensor(vectors) - center, ops.convert_to_tensor(embeddings) - center


def map_rows(
    function: Callable[[Tensor], Tensor],
    rows: Tensor,
    scores_per_row: int,
    scores_per_block: int | None = None,
) -> Tensor:
    """Applies a function to rows in blocks, to limit its memory.

    Args:
        function: Callable that maps rows of shape `(..., width)` to a tensor of shape
            `(..., *result)`.
        rows: Tensor of shape `(..., width)`.
        scores_per_row: Integer. Number of scores that the function holds per row.
        scores_per_block: Integer. Maximum number of scores per block; a block has at least one row.
            `None` uses `SCORES_PER_BLOCK`. Defaults to `None`.

    Returns:
        Result of the function for all rows.
    """
    if is_traced_for_export():
        return function(rows)
    shape, width = ops.shape(rows)[:-1], rows.shape[-1]
    rows = ops.reshape(rows, (-1, width))
    count = ops.shape(rows)[0]
    block = max(1, (scores_per_block or SCORES_PER_BLOCK) // scores_per_row)
    if isinstance(count, int) and count == 0:
        # One row stands in, because JAX cannot reshape an empty array to an inferred size.
        results = function(ops.zeros((1, width), rows.dtype))[:0]
    elif isinstance(count, int) and count <= block:
        results = function(rows)
    else:
        rows = _padded(rows, (block - count % block) % block)
        results = ops.map(function, ops.reshape(rows, (-1, block, width)))
        results = ops.reshape(results, (-1, *results.shape[2:]))[:count]
    return ops.reshape(results, (*shape, *results.shape[1:]))


def search_by_blocks(vectors: Tensor, embeddings: Tensor) -> Tensor:
    blocks = backend.search_blocks((*vectors.shape[:-1], embeddings.shape[0]))
    scorers = _scorers(embeddings, blocks.codes)
    # The number of codes is unknown if they are the vectors of a batch of unknown size.
    _, groups, group_size, _ = scorers.shape
    scores_per_row = group_size * (groups or 2 * _GROUPS)
    scores = max(blocks.scores, _LEAST_ROWS_PER_BLOCK * scores_per_row)
    search = _search_by_columns if backend.has_operator_fusion() else _search_by_rows
    return map_rows(search(scorers), vectors, scores_per_row, scores)


search = backend.with_fused_search(search_by_blocks)


def scores_of(vectors: Tensor, embeddings: Tensor) -> Tensor:
    """Computes x·e - |e|²/2, whose argmax is the nearest code: `(..., dim)` -> `(..., k)`."""
    return ops.matmul(vectors, ops.transpose(embeddings)) - 0.5 * ops.sum(
        ops.square(embeddings), axis=-1
    )


def _scorers(embeddings: Tensor, most: int) -> Tensor:
    """Builds matrices whose products with (vector, 1) are scores, in tiles of groups of codes.

    Args:
        embeddings: Float32 tensor of shape `(codebook_size, dim)`. Code vectors.
        most: Integer. Maximum number of codes per tile, before padding.

    Returns:
        Float32 tensor of shape `(tiles, groups, group_size, dim + 1)`, in the order of the codes.
        Tiles have nearly equal sizes, to keep the padding of the last one small.
    """
    bias = -0.5 * ops.sum(ops.square(embeddings), axis=-1, keepdims=True)
    count, dim = ops.shape(embeddings)
    tiles, group_size = 1, _CODES_OF_GROUP
    if isinstance(count, int):
        tiles = -(-count // most)
        group_size = min(max(count // _GROUPS, 1), _CODES_OF_GROUP)
    padding = -count % (tiles * group_size)
    embeddings, bias = _padded(embeddings, padding), _padded(bias, padding, _NEVER)
    rows = ops.concatenate([embeddings, bias], axis=1)
    return ops.reshape(rows, (tiles, -1, group_size, dim + 1))


def _padded(rows: Tensor, count: int | Tensor, value: float = 0.0) -> Tensor:
    """Appends `count` rows of a constant value; returns the rows without a copy if it is 0."""
    if not isinstance(count, int):
        return ops.pad(rows, [[0, count], [0, 0]], constant_values=value)
    if count == 0:
        return rows
    # `ops.pad` creates an object with a new name in each call, so that torch.compile recompiles.
    return ops.concatenate([rows, ops.full((count, rows.shape[1]), value, rows.dtype)], axis=0)


def _search_by_columns(scorers: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns a search of one block of vectors for XLA, with one column of scores per vector."""
    tiles, _, group_size, width = scorers.shape
    scorers = ops.reshape(scorers, (tiles, -1, width))

    def best_of_block(vectors: Tensor) -> Tensor:
        columns = ops.transpose(_with_one(vectors))

        def best_of_tile(scorer: Tensor) -> tuple[Tensor, Tensor]:
            return best_of_columns(ops.matmul(scorer, columns), group_size)

        if tiles == 1:
            return best_of_tile(scorers[0])[0]
        codes, scores = ops.map(best_of_tile, scorers)
        return _of_best_tile(codes, scores, scorers.shape[1])

    return best_of_block


def _search_by_rows(scorers: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns a search of one block of vectors without XLA, with one row of scores per vector."""
    tiles, groups, group_size, width = scorers.shape
    scorers = ops.reshape(ops.transpose(scorers, (0, 3, 2, 1)), (tiles, width, -1))
    matmul = backend.buffered_matmul()

    def best_of_block(vectors: Tensor) -> Tensor:
        rows = _with_one(vectors)

        def best_of_tile(scorer: Tensor) -> tuple[Tensor, Tensor]:
            return best_of_rows(matmul(rows, scorer), group_size)

        if tiles == 1:
            return best_of_tile(scorers[0])[0]
        codes, scores = ops.map(best_of_tile, scorers)
        return _of_best_tile(codes, scores, groups * group_size)

    return best_of_block


def best_of_columns(scores: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """Computes the argmax and the maximum of each column; the lowest index wins a tie.

    A two-level argmax: CPUs compute an argmax over all codes with scalar instructions, but maxima
    of groups of codes with vector instructions over many columns. Only the best group is then
    searched code by code.

    Args:
        scores: Float32 tensor of shape `(codes, n)`.
        group_size: Integer. Number of codes per group.

    Returns:
        Int32 and float32 tensors of shape `(n,)`.
    """
    scores = ops.reshape(scores, (-1, group_size, scores.shape[1]))
    # Without a barrier XLA fuses both reductions and recomputes the maxima of groups, slowly.
    group_bests = backend.optimization_barrier(ops.amax(scores, axis=1))
    best = ops.amax(group_bests, axis=0)
    group = _first_row(group_bests >= best)
    code = _first_row(ops.take_along_axis(scores, group[None, None], axis=0)[0] >= best)
    return group * group_size + code, best


def best_of_rows(scores: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """Computes the argmax and the maximum of each row, with vector instructions over groups.

    Args:
        scores: Float32 tensor of shape `(n, codes)`. The first codes of all groups come first, then
            the second ones, and so on.
        group_size: Integer. Number of codes per group.

    Returns:
        Int32 and float32 tensors of shape `(n,)`.
    """
    scores = ops.reshape(scores, (-1, group_size, ops.shape(scores)[1] // group_size))
    group, best = backend.argmax_and_max(ops.amax(scores, axis=1))
    code, _ = backend.argmax_and_max(backend.take_per_row(scores, group))
    return group * group_size + code, best


def _with_one(vectors: Tensor) -> Tensor:
    # Appended per block, because appending to all vectors at once would copy them.
    return ops.concatenate([vectors, ops.ones_like(vectors[:, :1])], axis=1)


def _of_best_tile(codes: Tensor, scores: Tensor, codes_of_tile: int) -> Tensor:
    """Returns the best code over tiles; the first wins a tie: `(tiles, n)` twice -> `(n,)`."""
    tile = argmax(ops.transpose(scores))
    return tile * codes_of_tile + ops.take_along_axis(codes, tile[None], axis=0)[0]


def _first_row(values: Tensor) -> Tensor:
    """Returns the first true row of each column; 0 if there is none, as for NaN scores."""
    # Not an argmax, because XLA does not vectorize reductions of (value, index) pairs.
    count = ops.shape(values)[0]
    rows = ops.arange(0, count, dtype="int32")[:, None]
    first = ops.amin(ops.where(values, rows, count), axis=0)
    return ops.where(first < count, first, 0)


def argmax(values: Tensor) -> Tensor:
    """Computes the argmax along the last axis; the lowest index wins a tie.

    Args:
        values: Float tensor of shape `(..., n)`.

    Returns:
        Int32 tensor of shape `(...)`.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import argmax
        >>> np.array(argmax(np.array([[0.1, 0.9, 0.9]], "float32")))
        array([1], dtype=int32)
    """
    if ranks_for_argmax():
        return ops.cast(ops.top_k(values, 1)[1][..., 0], "int32")
    # `keras.ops.argmax` of floats or booleans adds bit operations on TensorFlow and JAX, which are
    # slow and which export formats reject; an argmax of integers does not.
    is_largest = values >= largest_of(values)
    return ops.cast(ops.argmax(ops.cast(is_largest, "int32"), axis=-1), "int32")


def largest_of(values: Tensor) -> Tensor:
    """Computes the maximum along the last axis, and keeps the axis."""
    # Keras rejects empty tensors in eager execution on TensorFlow. Only integers are compared,
    # because sizes are tensors in PyTorch's tracer, which warns about comparisons.
    if any(isinstance(size, int) and size == 0 for size in values.shape):
        return values[..., :1]
    return ops.amax(values, axis=-1, keepdims=True)
