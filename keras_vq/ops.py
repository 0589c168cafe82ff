"""Pure functions of vector quantization: distances, nearest-code search, usage statistics."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from keras import ops

from keras_vq import backend
from keras_vq._types import Tensor

__all__ = [
    "argmax",
    "code_counts",
    "code_sums",
    "masked_mean",
    "nearest_code",
    "nearest_codes",
    "perplexity",
    "replace_gradient",
    "sample_code",
    "squared_distances",
    "stop_gradient_mse",
    "unit_vectors",
]

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


class _Tracing(threading.local):
    """Thread-local tracing options (torch.compile does not support ContextVar)."""

    export_mode = False
    by_rank = False


_TRACING = _Tracing()


@contextlib.contextmanager
def export_mode(by_rank: bool = False) -> Iterator[None]:
    """Disables blockwise search in the functions traced inside, so that graphs have no loops.

    The results are the same. Used for export: batches are small and their size is unknown at trace
    time, so that a single image would be padded to a whole block.

    Args:
        by_rank: Boolean. Whether an argmax is computed by top-k instead of by comparison with the
            maximum. Conversion to int8 may give the maximum another scale, so that no value equals
            it. Defaults to `False`.
    """
    before = _TRACING.export_mode, _TRACING.by_rank
    _TRACING.export_mode, _TRACING.by_rank = True, by_rank
    try:
        yield
    finally:
        _TRACING.export_mode, _TRACING.by_rank = before


def is_traced_for_export() -> bool:
    """Returns whether the code is traced inside `export_mode`, where graphs should be small."""
    return _TRACING.export_mode


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
    places = ops.arange(_SAMPLED, dtype="int32") * ops.shape(embeddings)[0] // _SAMPLED
    ranked = ops.top_k(ops.transpose(ops.take(embeddings, places, axis=0)), _SAMPLED)[0]
    upper, median, lower = (ranked[:, rank] for rank in _QUARTILES)
    # Adding 2^25 times the range rounds the median to a multiple of two to four times the range.
    large = 2.0**25 * (upper - lower)
    return median + large - large


def _centered(vectors: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    center = code_center(embeddings)
    return ops.convert_to_tensor(vectors) - center, ops.convert_to_tensor(embeddings) - center


def squared_distances(vectors: Tensor, embeddings: Tensor) -> Tensor:
    """Computes the squared Euclidean distance from each vector to each code vector.

    Holds the whole `(n, codebook_size)` matrix. `nearest_code` finds nearest codes without it.

    Args:
        vectors: Float32 tensor of shape `(n, dim)`.
        embeddings: Float32 tensor of shape `(codebook_size, dim)`. Code vectors.

    Returns:
        Float32 tensor of shape `(n, codebook_size)`, never negative.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import squared_distances
        >>> np.array(squared_distances(np.zeros((1, 2), "float32"), np.ones((3, 2), "float32")))
        array([[2., 2., 2.]], dtype=float32)
    """
    vectors, embeddings = _centered(vectors, embeddings)
    products = ops.matmul(vectors, ops.transpose(embeddings))
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return ops.maximum(squares - 2.0 * products + ops.sum(ops.square(embeddings), axis=-1), 0.0)


def nearest_code(vectors: Tensor, embeddings: Tensor) -> Tensor:
    """Finds the nearest code of each vector; the lowest index wins a tie.

    The nearest code vector e of a vector x is the argmax of the scores x·e - |e|²/2. The bias
    -|e|²/2 is one more column of the matrix product, so that no pass over the scores adds norms.
    Vectors and codes are processed in blocks, and memory does not grow with vectors x codes: at
    most 2^20 scores (4 MiB) exist at a time, or 2^24 for large inputs in torch.compile.

    Args:
        vectors: Float32 tensor of shape `(..., dim)` with finite values.
        embeddings: Float32 tensor of shape `(codebook_size, dim)`. Code vectors with finite values.

    Returns:
        Int32 tensor of codes, of shape `(...)`.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import nearest_code
        >>> vectors = np.array([[0.1, 0.0], [0.8, 0.9]], "float32")
        >>> codes = np.array([[0.0, 0.0], [1.0, 1.0]], "float32")
        >>> np.array(nearest_code(vectors, codes))
        array([0, 1], dtype=int32)
    """
    vectors, embeddings = map(ops.stop_gradient, _centered(vectors, embeddings))
    if _TRACING.export_mode:
        return argmax(_scores(vectors, embeddings))
    return _search(vectors, embeddings)


def nearest_codes(vectors: Tensor, embeddings: Tensor, count: int) -> Tensor:
    """Finds the `count` nearest codes of each vector, the nearest first.

    Args:
        vectors: Float32 tensor of shape `(..., dim)` with finite values.
        embeddings: Float32 tensor of shape `(codebook_size, dim)`. Code vectors with finite values.
        count: Integer. Number of codes per vector, from 1 to codebook_size.

    Returns:
        Int32 tensor of codes, of shape `(..., count)`.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import nearest_codes
        >>> codes = np.array([[0.0], [1.0], [2.0]], "float32")
        >>> np.array(nearest_codes(np.array([[1.2]], "float32"), codes, 2))
        array([[1, 2]], dtype=int32)
    """
    vectors, embeddings = _centered(vectors, embeddings)

    def best(rows: Tensor) -> Tensor:
        codes = ops.top_k(_scores(rows, embeddings), count)[1]
        return ops.cast(codes, "int32")

    return map_rows(best, vectors, embeddings.shape[0])


def sample_code(
    vectors: Tensor, embeddings: Tensor, uniforms: Tensor, temperature: float
) -> Tensor:
    """Samples a code for each vector x with the probabilities softmax(-|x - e|² / temperature).

    Args:
        vectors: Float32 tensor of shape `(..., dim)` with finite values.
        embeddings: Float32 tensor of shape `(codebook_size, dim)`. Code vectors with finite values.
        uniforms: Float32 tensor of shape `(...)`. Uniform random numbers in [0, 1), one per vector.
        temperature: Float above 0, in units of a squared distance. As it approaches 0, the result
            approaches that of `nearest_code`.

    Returns:
        Int32 tensor of codes, of shape `(...)`.
    """
    vectors, embeddings = _centered(vectors, embeddings)

    def draw(rows: Tensor) -> Tensor:
        logits = _scores(rows[..., :-1], embeddings) * (2.0 / temperature)
        cumulative = ops.cumsum(ops.softmax(logits, axis=-1), axis=-1)
        threshold = rows[..., -1:] * cumulative[..., -1:]
        below = ops.sum(ops.cast(cumulative <= threshold, "int32"), axis=-1)
        return ops.minimum(below, embeddings.shape[0] - 1)

    rows = ops.concatenate([vectors, ops.convert_to_tensor(uniforms)[..., None]], axis=-1)
    return map_rows(draw, rows, embeddings.shape[0])


def stop_gradient_mse(values: Tensor, targets: Tensor, mask: Tensor | None) -> Tensor:
    """Computes the mean of |v - sg(t)|² over vectors v, their targets t, and dimensions.

    Args:
        values: Float32 tensor of shape `(..., dim)`. Vectors, which receive the gradient.
        targets: Float32 tensor of the same shape. Targets, without a gradient (sg).
        mask: Boolean tensor of shape `(...)`. `False` excludes a vector; `None` keeps all.

    Returns:
        Scalar float32 tensor; 0 if the mask is `False` everywhere.
    """
    errors = ops.mean(ops.square(values - ops.stop_gradient(targets)), axis=-1)
    return masked_mean(errors, mask)


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
    if _TRACING.export_mode:
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


def _by_blocks(vectors: Tensor, embeddings: Tensor) -> Tensor:
    blocks = backend.search_blocks((*vectors.shape[:-1], embeddings.shape[0]))
    scorers = _scorers(embeddings, blocks.codes)
    # The number of codes is unknown if they are the vectors of a batch of unknown size.
    _, groups, group_size, _ = scorers.shape
    scores_per_row = group_size * (groups or 2 * _GROUPS)
    scores = max(blocks.scores, _LEAST_ROWS_PER_BLOCK * scores_per_row)
    search = _search_by_columns if backend.has_operator_fusion() else _search_by_rows
    return map_rows(search(scorers), vectors, scores_per_row, scores)


_search = backend.with_fused_search(_by_blocks)


def _scores(vectors: Tensor, embeddings: Tensor) -> Tensor:
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
            return _best_of_columns(ops.matmul(scorer, columns), group_size)

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
            return _best_of_rows(matmul(rows, scorer), group_size)

        if tiles == 1:
            return best_of_tile(scorers[0])[0]
        codes, scores = ops.map(best_of_tile, scorers)
        return _of_best_tile(codes, scores, groups * group_size)

    return best_of_block


def _best_of_columns(scores: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
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


def _best_of_rows(scores: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
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
    rows = ops.arange(count, dtype="int32")[:, None]
    first = ops.amin(ops.where(values, rows, count), axis=0)
    return ops.where(first < count, first, 0)


def argmax(values: Tensor) -> Tensor:
    """Computes the argmax along the last axis; the lowest index wins a tie.

    Args:
        values: Float tensor of shape `(..., n)`.

    Returns:
        Int32 tensor of shape `(...)`.
    """
    if _TRACING.by_rank:
        return ops.cast(ops.top_k(values, 1)[1][..., 0], "int32")
    # `keras.ops.argmax` of floats or booleans adds bit operations on TensorFlow and JAX, which are
    # slow and which export formats reject; an argmax of integers does not.
    is_largest = values >= _largest(values)
    return ops.cast(ops.argmax(ops.cast(is_largest, "int32"), axis=-1), "int32")


def _largest(values: Tensor) -> Tensor:
    """Computes the maximum along the last axis, and keeps the axis."""
    # Keras rejects empty tensors in eager execution on TensorFlow. Only integers are compared,
    # because sizes are tensors in PyTorch's tracer, which warns about comparisons.
    if any(isinstance(size, int) and size == 0 for size in values.shape):
        return values[..., :1]
    return ops.amax(values, axis=-1, keepdims=True)


def unit_vectors(vectors: Tensor) -> Tensor:
    """Scales vectors to unit Euclidean norm along the last axis; a zero vector stays zero.

    Args:
        vectors: Float32 tensor of shape `(..., dim)`.

    Returns:
        Tensor of the same shape.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import unit_vectors
        >>> np.array(unit_vectors(np.array([[3.0, 4.0]], "float32")))
        array([[0.6, 0.8]], dtype=float32)
    """
    vectors = ops.convert_to_tensor(vectors)
    # Prescaled, so that squares of very small or large numbers stay in range.
    largest = ops.stop_gradient(_largest(ops.abs(vectors)))
    vectors = vectors / ops.where(largest > 0, largest, 1.0)
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors * ops.rsqrt(ops.where(squares > 0, squares, 1.0))


def code_counts(codes: Tensor, codebook_size: int, weights: Tensor | None = None) -> Tensor:
    """Counts the occurrences of each code, optionally weighted.

    Args:
        codes: Int32 tensor of codes in `[0, codebook_size)`, of shape `(n,)`.
        codebook_size: Integer. Number of codes.
        weights: Float32 tensor of shape `(n,)`. Weight of each occurrence; `None` uses 1. Defaults
            to `None`.

    Returns:
        Float32 tensor of shape `(codebook_size,)`.
    """
    codes = ops.convert_to_tensor(codes)
    if weights is None:
        weights = ops.ones_like(codes, dtype="float32")
    return backend.segment_sum(weights, codes, codebook_size)


def code_sums(
    vectors: Tensor, codes: Tensor, codebook_size: int, weights: Tensor | None = None
) -> Tensor:
    """Sums the vectors assigned to each code, optionally weighted.

    Args:
        vectors: Float32 tensor of shape `(n, dim)`.
        codes: Int32 tensor of codes in `[0, codebook_size)`, of shape `(n,)`.
        codebook_size: Integer. Number of codes.
        weights: Float32 tensor of shape `(n,)`. Weight of each vector; `None` uses 1. Defaults to
            `None`.

    Returns:
        Float32 tensor of shape `(codebook_size, dim)`.
    """
    vectors = ops.convert_to_tensor(vectors)
    if weights is not None:
        vectors = vectors * ops.convert_to_tensor(weights)[:, None]
    return backend.segment_sum(vectors, codes, codebook_size)


def perplexity(counts: Tensor) -> Tensor:
    """Computes the perplexity of codebook usage, the exponential of its entropy.

    It is 1 if a single code is used, and codebook_size if usage is uniform.

    Args:
        counts: Float32 tensor of shape `(codebook_size,)`. Count of each code, at least 0.

    Returns:
        Scalar float32 tensor in `[1, codebook_size]`; 1 if all counts are 0.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import perplexity
        >>> round(float(perplexity(np.array([5.0, 5.0, 0.0, 0.0], "float32"))), 4)
        2.0
    """
    counts = ops.convert_to_tensor(counts)
    probabilities = counts / ops.maximum(ops.sum(counts), 1e-12)
    logarithms = ops.log(ops.where(probabilities > 0, probabilities, 1.0))
    return ops.exp(-ops.sum(probabilities * logarithms))


def peak_signal_to_noise_ratio(squared_errors: Tensor, max_value: float = 1.0) -> Tensor:
    """Computes the peak signal-to-noise ratio (PSNR) of mean squared errors, in decibels.

    It is 10 log₁₀(peak² / MSE), at most 100 dB.

    Args:
        squared_errors: Float tensor of any shape. Mean squared error of each image.
        max_value: Float. Peak value, the range of the pixels. Defaults to 1.

    Returns:
        Float tensor of the same shape.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import peak_signal_to_noise_ratio
        >>> round(float(peak_signal_to_noise_ratio(np.float32(0.01))), 3)
        20.0
    """
    relative = ops.convert_to_tensor(squared_errors) / max_value**2
    return -10.0 * ops.log10(ops.maximum(relative, 1e-10))


def replace_gradient(value: Tensor, gradient_of: Tensor) -> Tensor:
    """Returns the value of one tensor with the gradient of another (straight-through estimator).

    The output `value + (g - stop_gradient(g))` equals the value exactly; the usual expression
    `g + stop_gradient(value - g)` rounds.

    Args:
        value: Float tensor.
        gradient_of: Float tensor of the same shape.

    Returns:
        Tensor of that shape.
    """
    return ops.stop_gradient(value) + (gradient_of - ops.stop_gradient(gradient_of))


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Computes the mean of unmasked values.

    Args:
        values: Float32 tensor.
        mask: Boolean tensor of the same shape. `False` excludes a value; `None` keeps all.

    Returns:
        Scalar float32 tensor; 0 if no values are left.
    """
    values = ops.convert_to_tensor(values)
    if mask is None:
        return mean_or_zero(values)
    kept = ops.sum(ops.where(mask, values, 0.0))
    return kept / ops.maximum(ops.sum(ops.cast(mask, "float32")), 1.0)


def mean_or_zero(values: Tensor, axis: int | None = None) -> Tensor:
    """Computes the mean of values, or 0 if there are none.

    Args:
        values: Float32 tensor.
        axis: Integer. Axis of the mean; `None` averages over all axes. Defaults to `None`.
    """
    shape = values.shape if axis is None else values.shape[axis : axis + 1]
    if None not in shape and 0 not in shape:
        return ops.mean(values, axis=axis)
    count = ops.sum(ops.ones_like(values), axis=axis)
    return ops.sum(values, axis=axis) / ops.maximum(count, 1.0)
