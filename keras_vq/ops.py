"""Pure functions of vector quantization: distances, the nearest code, statistics per code."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import numpy as np
from keras import ops

from keras_vq import _backend
from keras_vq._types import Tensor

# Functions of vectors and codes hold at most this many scores at a time (4 MiB of float32), and
# memory does not grow with vectors x codes.
SCORES_PER_BLOCK = 2**20

# The product of fewer vectors with a block of codes would read every code for little work.
_LEAST_ROWS_PER_BLOCK = 128

# The two-level argmax takes maxima of groups of so many codes, many groups side by side; where
# there are fewer codes, the groups get smaller before they get fewer.
_CODES_OF_GROUP, _GROUPS = 16, 32

# The center of the codes is taken from so many of them, of which these ranks are the quartiles.
_SAMPLED, _QUARTILES = 31, (7, 15, 23)

# Below every score of a real code, and finite, so that it survives the matrix product.
_NEVER = -3e38


class _Tracing(threading.local):
    """How functions are traced in this thread (torch.compile can't follow a ContextVar)."""

    in_one_block = False
    by_rank = False


_TRACING = _Tracing()


@contextlib.contextmanager
def in_one_block(by_rank: bool = False) -> Iterator[None]:
    """Lets functions traced inside take all rows at once: the same answers from a plain graph.

    For models that leave Python: there batches are small, and of a size unknown when they are
    traced, so that blocks would be a loop of whole blocks for a single image.

    Args:
        by_rank: Whether a largest number is found by ranking, not by comparing all with it: what
            turns numbers into int8 may give the largest another scale, and nothing equals it.
    """
    before = _TRACING.in_one_block, _TRACING.by_rank
    _TRACING.in_one_block, _TRACING.by_rank = True, by_rank
    try:
        yield
    finally:
        _TRACING.in_one_block, _TRACING.by_rank = before


def is_traced_for_export() -> bool:
    """Whether what is called now is traced inside `in_one_block`, and wants few operations."""
    return _TRACING.in_one_block


def code_center(codes: Tensor) -> Tensor:
    """Returns the vector to subtract from vectors and codes before products of the two.

    Products of vectors with a large common offset round away what they differ by. The center is
    the median of 31 codes, rounded to a multiple of a power of two above twice their interquartile
    range: exactly 0 for codes about zero, whatever a quarter of the codes are. Elsewhere it has few
    digits, so that the subtraction is exact for codes near it. Codes in clusters far apart have no
    common offset: their distances keep an error of about `dim * 6e-8` times the squared range.

    Args:
        codes: Float32 tensor of shape `(codebook_size, dim)`.

    Returns:
        Float32 tensor of shape `(dim,)`, without a gradient.
    """
    codes = ops.stop_gradient(ops.convert_to_tensor(codes))
    places = np.arange(_SAMPLED, dtype="int32") * ops.shape(codes)[0] // _SAMPLED
    ranked = ops.top_k(ops.transpose(ops.take(codes, places, axis=0)), _SAMPLED)[0]
    upper, median, lower = (ranked[:, rank] for rank in _QUARTILES)
    # Added to 2^25 times the range, the median keeps only multiples of two to four times the range.
    large = 2.0**25 * (upper - lower)
    return median + large - large


def _centered(vectors: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    center = code_center(codes)
    return ops.convert_to_tensor(vectors) - center, ops.convert_to_tensor(codes) - center


def squared_distances(vectors: Tensor, codes: Tensor) -> Tensor:
    """Squared Euclidean distance of every vector to every code.

    Holds the whole (n, codebook_size) matrix; to find nearest codes use `nearest_code`, which
    does not.

    Args:
        vectors: Float32 tensor of shape `(n, dim)`.
        codes: Float32 tensor of shape `(codebook_size, dim)`.

    Returns:
        Float32 tensor of shape `(n, codebook_size)`, never negative.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import squared_distances
        >>> np.array(squared_distances(np.zeros((1, 2), "float32"), np.ones((3, 2), "float32")))
        array([[2., 2., 2.]], dtype=float32)
    """
    vectors, codes = _centered(vectors, codes)
    products = ops.matmul(vectors, ops.transpose(codes))
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return ops.maximum(squares - 2.0 * products + ops.sum(ops.square(codes), axis=-1), 0.0)


def nearest_code(vectors: Tensor, codes: Tensor) -> Tensor:
    """Index of the code nearest to each vector; the lowest index wins a tie.

    Minimising |x - e|² over the codes e is maximising x·e - |e|²/2, so a code's bias rides in
    the matrix product as one more column, and no pass over the score matrix adds norms. Vectors
    and codes are taken in blocks, so that memory does not grow with vectors x codes: no more than
    2^20 scores (4 MiB) exist at a time, of many vectors and codes in torch.compile 2^24.

    Args:
        vectors: Float32 tensor of shape `(..., dim)`, finite.
        codes: Float32 tensor of shape `(codebook_size, dim)`, finite.

    Returns:
        Int32 tensor of shape `(...)`.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import nearest_code
        >>> vectors = np.array([[0.1, 0.0], [0.8, 0.9]], "float32")
        >>> codes = np.array([[0.0, 0.0], [1.0, 1.0]], "float32")
        >>> np.array(nearest_code(vectors, codes))
        array([0, 1], dtype=int32)
    """
    vectors, codes = map(ops.stop_gradient, _centered(vectors, codes))
    if _TRACING.in_one_block:
        return first_maximum(_scores(vectors, codes))
    return _search(vectors, codes)


def nearest_codes(vectors: Tensor, codes: Tensor, count: int) -> Tensor:
    """Indices of the `count` codes nearest to each vector, the nearest first.

    Args:
        vectors: Float32 tensor of shape `(..., dim)`, finite.
        codes: Float32 tensor of shape `(codebook_size, dim)`, finite.
        count: How many codes, from 1 to codebook_size.

    Returns:
        Int32 tensor of shape `(..., count)`.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import nearest_codes
        >>> codes = np.array([[0.0], [1.0], [2.0]], "float32")
        >>> np.array(nearest_codes(np.array([[1.2]], "float32"), codes, 2))
        array([[1, 2]], dtype=int32)
    """
    vectors, codes = _centered(vectors, codes)

    def best(rows: Tensor) -> Tensor:
        indices = ops.top_k(_scores(rows, codes), count)[1]
        return ops.cast(indices, "int32")

    return map_rows(best, vectors, codes.shape[0])


def sample_code(vectors: Tensor, codes: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """Draws a code for each vector, with probability softmax(-|x - e|² / temperature).

    Args:
        vectors: Float32 tensor of shape `(..., dim)`, finite.
        codes: Float32 tensor of shape `(codebook_size, dim)`, finite.
        uniforms: Float32 tensor of shape `(...)`, uniform in [0, 1): one a draw.
        temperature: Above 0, in units of the squared distance; towards 0 it is `nearest_code`.

    Returns:
        Int32 tensor of shape `(...)`.
    """
    vectors, codes = _centered(vectors, codes)

    def draw(rows: Tensor) -> Tensor:
        logits = _scores(rows[..., :-1], codes) * (2.0 / temperature)
        cumulative = ops.cumsum(ops.softmax(logits, axis=-1), axis=-1)
        threshold = rows[..., -1:] * cumulative[..., -1:]
        below = ops.sum(ops.cast(cumulative <= threshold, "int32"), axis=-1)
        return ops.minimum(below, codes.shape[0] - 1)

    rows = ops.concatenate([vectors, ops.convert_to_tensor(uniforms)[..., None]], axis=-1)
    return map_rows(draw, rows, codes.shape[0])


def error_to_fixed(values: Tensor, targets: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of |v - sg(t)|² over vectors v, their targets t and dimensions: it pulls v to t.

    Args:
        values: Float32 tensor of shape `(..., dim)`, which gets the gradient.
        targets: Float32 tensor of the same shape, which gets none.
        mask: Boolean tensor of shape `(...)`; false leaves a vector out. None keeps all.

    Returns:
        Scalar float32 tensor; 0 when the mask is false everywhere.
    """
    errors = ops.mean(ops.square(values - ops.stop_gradient(targets)), axis=-1)
    return masked_mean(errors, mask)


def map_rows(
    function: Callable[[Tensor], Tensor],
    rows: Tensor,
    scores_per_row: int,
    scores_per_block: int | None = None,
) -> Tensor:
    """A function of rows, computed in blocks of no more than so many scores.

    Args:
        function: Takes rows `(..., width)` and gives `(..., *result)`.
        rows: Tensor of shape `(..., width)`.
        scores_per_row: How many numbers the function holds for one row.
        scores_per_block: How many it may hold, or those of one row; `SCORES_PER_BLOCK` if None.

    Returns:
        What the function would give for all rows at once.
    """
    if _TRACING.in_one_block:
        return function(rows)
    shape, width = ops.shape(rows)[:-1], rows.shape[-1]
    rows = ops.reshape(rows, (-1, width))
    count = ops.shape(rows)[0]
    block = max(1, (scores_per_block or SCORES_PER_BLOCK) // scores_per_row)
    if isinstance(count, int) and count == 0:
        # Of one row: JAX cannot reshape an empty array to a size that it has to find.
        results = function(ops.zeros((1, width), rows.dtype))[:0]
    elif isinstance(count, int) and count <= block:
        results = function(rows)
    else:
        rows = _padded(rows, (block - count % block) % block)
        results = ops.map(function, ops.reshape(rows, (-1, block, width)))
        results = ops.reshape(results, (-1, *results.shape[2:]))[:count]
    return ops.reshape(results, (*shape, *results.shape[1:]))


def _by_blocks(vectors: Tensor, codes: Tensor) -> Tensor:
    blocks = _backend.search_blocks((*vectors.shape[:-1], codes.shape[0]))
    scorers = _scorers(codes, blocks.codes)
    # How many codes there are is unknown when they are the vectors of a batch of any size.
    _, groups, group_size, _ = scorers.shape
    scores_per_row = group_size * (groups or 2 * _GROUPS)
    scores = max(blocks.scores, _LEAST_ROWS_PER_BLOCK * scores_per_row)
    search = _search_by_columns if _backend.fuses_operations() else _search_by_rows
    return map_rows(search(scorers), vectors, scores_per_row, scores)


_search = _backend.with_fused_search(_by_blocks)


def _scores(vectors: Tensor, codes: Tensor) -> Tensor:
    """x·e - |e|²/2, greatest where |x - e|² is least: `(..., dim)`, `(k, dim)` -> `(..., k)`."""
    return ops.matmul(vectors, ops.transpose(codes)) - 0.5 * ops.sum(ops.square(codes), axis=-1)


def _scorers(codes: Tensor, most: int) -> Tensor:
    """Rows whose products with (vector, 1) are the scores of codes, in tiles of groups.

    Args:
        codes: Float32 tensor of shape `(codebook_size, dim)`.
        most: Codes of a tile.

    Returns:
        Float32 tensor of shape `(tiles, groups, codes of a group, dim + 1)`, in the order of the
        codes. Tiles are about as large as each other, so that next to no scores are of codes that
        fill the last one up.
    """
    bias = -0.5 * ops.sum(ops.square(codes), axis=-1, keepdims=True)
    count, dim = ops.shape(codes)
    tiles, group_size = 1, _CODES_OF_GROUP
    if isinstance(count, int):
        tiles = -(-count // most)
        group_size = min(max(count // _GROUPS, 1), _CODES_OF_GROUP)
    padding = -count % (tiles * group_size)
    codes, bias = _padded(codes, padding), _padded(bias, padding, _NEVER)
    rows = ops.concatenate([codes, bias], axis=1)
    return ops.reshape(rows, (tiles, -1, group_size, dim + 1))


def _padded(rows: Tensor, count: int | Tensor, value: float = 0.0) -> Tensor:
    """The rows and `count` more, without a copy where there are none to add."""
    if not isinstance(count, int):
        return ops.pad(rows, [[0, count], [0, 0]], constant_values=value)
    if count == 0:
        return rows
    # `ops.pad` makes an object with a new name each time, for which torch.compile compiles anew.
    return ops.concatenate([rows, ops.full((count, rows.shape[1]), value, rows.dtype)], axis=0)


def _search_by_columns(scorers: Tensor) -> Callable[[Tensor], Tensor]:
    """The search of a block of vectors for compilers that fuse: a column of scores a vector."""
    tiles, _, group_size, width = scorers.shape
    scorers = ops.reshape(scorers, (tiles, -1, width))

    def best_of_block(vectors: Tensor) -> Tensor:
        columns = ops.transpose(_with_one(vectors))

        def best_of_tile(scorer: Tensor) -> tuple[Tensor, Tensor]:
            return _best_of_columns(ops.matmul(scorer, columns), group_size)

        if tiles == 1:
            return best_of_tile(scorers[0])[0]
        indices, scores = ops.map(best_of_tile, scorers)
        return _of_best_tile(indices, scores, scorers.shape[1])

    return best_of_block


def _search_by_rows(scorers: Tensor) -> Callable[[Tensor], Tensor]:
    """The search of a block of vectors, one operation at a time: a row of scores a vector."""
    tiles, groups, group_size, width = scorers.shape
    scorers = ops.reshape(ops.transpose(scorers, (0, 3, 2, 1)), (tiles, width, -1))
    matmul = _backend.matmul_into_same_memory()

    def best_of_block(vectors: Tensor) -> Tensor:
        rows = _with_one(vectors)

        def best_of_tile(scorer: Tensor) -> tuple[Tensor, Tensor]:
            return _best_of_rows(matmul(rows, scorer), group_size)

        if tiles == 1:
            return best_of_tile(scorers[0])[0]
        indices, scores = ops.map(best_of_tile, scorers)
        return _of_best_tile(indices, scores, groups * group_size)

    return best_of_block


def _best_of_columns(scores: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """First index of the highest score of each column, and that score.

    An argmax along all the codes is scalar work on a processor. Maxima of groups of codes are
    vector work, many vectors side by side; only the best group is looked at code by code.

    Args:
        scores: Float32 tensor of shape `(codes, n)`.
        group_size: Codes of a group.

    Returns:
        Int32 and float32 tensors of shape `(n,)`.
    """
    scores = ops.reshape(scores, (-1, group_size, scores.shape[1]))
    # Else XLA takes maxima of maxima together, and those of groups again, slowly.
    group_bests = _backend.computed_once(ops.amax(scores, axis=1))
    best = ops.amax(group_bests, axis=0)
    group = _first_row(group_bests >= best)
    code = _first_row(ops.take_along_axis(scores, group[None, None], axis=0)[0] >= best)
    return group * group_size + code, best


def _best_of_rows(scores: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """The same of rows, with the maxima of many groups side by side.

    Args:
        scores: Float32 tensor of shape `(n, codes)`; first come the first codes of all groups,
            then the second ones, and so on.
        group_size: Codes of a group.

    Returns:
        Int32 and float32 tensors of shape `(n,)`.
    """
    scores = ops.reshape(scores, (-1, group_size, ops.shape(scores)[1] // group_size))
    group, best = _backend.first_maximum_and_value(ops.amax(scores, axis=1))
    code, _ = _backend.first_maximum_and_value(_backend.take_of_each(scores, group))
    return group * group_size + code, best


def _with_one(vectors: Tensor) -> Tensor:
    # A block at a time, and not all vectors at once, which would be one more copy of them.
    return ops.concatenate([vectors, ops.ones_like(vectors[:, :1])], axis=1)


def _of_best_tile(indices: Tensor, scores: Tensor, codes_of_tile: int) -> Tensor:
    """The index of each vector in its first best tile: `(tiles, n)` twice -> `(n,)`."""
    tile = first_maximum(ops.transpose(scores))
    return tile * codes_of_tile + ops.take_along_axis(indices, tile[None], axis=0)[0]


def _first_row(values: Tensor) -> Tensor:
    """Row of the first that is true in each column; 0 if none is, where all is NaN."""
    # Not by an argmax, whose pairs of value and index XLA has no vector instructions for.
    count = ops.shape(values)[0]
    rows = ops.arange(count, dtype="int32")[:, None]
    first = ops.amin(ops.where(values, rows, count), axis=0)
    return ops.where(first < count, first, 0)


def first_maximum(values: Tensor) -> Tensor:
    """Index of the largest number along the last axis; the lowest index wins a tie.

    Args:
        values: Float tensor of shape `(..., n)`.

    Returns:
        Int32 tensor of shape `(...)`.
    """
    if _TRACING.by_rank:
        return ops.cast(ops.top_k(values, 1)[1][..., 0], "int32")
    # An argmax of floats or booleans costs extra bit operations on two backends, and export
    # formats refuse them; an argmax of integers does not.
    is_largest = values >= _largest(values)
    return ops.cast(ops.argmax(ops.cast(is_largest, "int32"), axis=-1), "int32")


def _largest(values: Tensor) -> Tensor:
    """Returns the maximum along the last axis, which is kept."""
    # Keras refuses empty tensors in eager execution on TensorFlow. PyTorch's tracer has tensors for
    # sizes, and warns of their comparison.
    if any(isinstance(size, int) and size == 0 for size in values.shape):
        return values[..., :1]
    return ops.amax(values, axis=-1, keepdims=True)


def unit_vectors(vectors: Tensor) -> Tensor:
    """Vectors scaled to a Euclidean norm of 1 along the last axis; a zero vector stays zero.

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
    # Scaled first, so that squares of very small or large numbers stay within range.
    largest = ops.stop_gradient(_largest(ops.abs(vectors)))
    vectors = vectors / ops.where(largest > 0, largest, 1.0)
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors * ops.rsqrt(ops.where(squares > 0, squares, 1.0))


def code_counts(indices: Tensor, codebook_size: int, weights: Tensor | None = None) -> Tensor:
    """How many of the indices name each code, each counted with its weight.

    Args:
        indices: Int32 tensor of shape `(n,)` in `[0, codebook_size)`.
        codebook_size: Number of codes.
        weights: Float32 tensor of shape `(n,)`; 1 for every index when None.

    Returns:
        Float32 tensor of shape `(codebook_size,)`.
    """
    indices = ops.convert_to_tensor(indices)
    if weights is None:
        weights = ops.ones_like(indices, dtype="float32")
    return _backend.segment_sum(weights, indices, codebook_size)


def code_sums(
    vectors: Tensor, indices: Tensor, codebook_size: int, weights: Tensor | None = None
) -> Tensor:
    """Sum of the vectors that chose each code, each with its weight.

    Args:
        vectors: Float32 tensor of shape `(n, dim)`.
        indices: Int32 tensor of shape `(n,)` in `[0, codebook_size)`.
        codebook_size: Number of codes.
        weights: Float32 tensor of shape `(n,)`; 1 for every vector when None.

    Returns:
        Float32 tensor of shape `(codebook_size, dim)`.
    """
    vectors = ops.convert_to_tensor(vectors)
    if weights is not None:
        vectors = vectors * ops.convert_to_tensor(weights)[:, None]
    return _backend.segment_sum(vectors, indices, codebook_size)


def perplexity(counts: Tensor) -> Tensor:
    """Exponential of the entropy of how often each code is used.

    1 when one code serves for everything, the codebook's size when all serve equally.

    Args:
        counts: Float32 tensor of shape `(codebook_size,)`, not negative.

    Returns:
        Scalar float32 tensor in `[1, codebook_size]`; 1 when nothing was counted.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import perplexity
        >>> round(float(perplexity(np.array([5.0, 5.0, 0.0, 0.0], "float32"))), 4)
        2.0
    """
    counts = ops.convert_to_tensor(counts)
    probabilities = counts / ops.maximum(ops.sum(counts), 1.0)
    logarithms = ops.log(ops.where(probabilities > 0, probabilities, 1.0))
    return ops.exp(-ops.sum(probabilities * logarithms))


def with_value(value: Tensor, gradient_of: Tensor) -> Tensor:
    """A tensor with the value of one tensor and the gradient of another.

    `value + (g - stop_gradient(g))` and not the usual `g + stop_gradient(value - g)`, which
    rounds: this way the outputs are the values to the bit.

    Args:
        value: Float tensor.
        gradient_of: Float tensor of the same shape.

    Returns:
        Tensor of that shape.
    """
    return ops.stop_gradient(value) + (gradient_of - ops.stop_gradient(gradient_of))


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the values where the mask is true; of all of them when there is no mask.

    Args:
        values: Float32 tensor.
        mask: Boolean tensor of the same shape, or None.

    Returns:
        Scalar float32 tensor; 0 when the mask is false everywhere, or there are no values.
    """
    values = ops.convert_to_tensor(values)
    if mask is None:
        return mean_or_zero(values)
    kept = ops.sum(ops.where(mask, values, 0.0))
    return kept / ops.maximum(ops.sum(ops.cast(mask, "float32")), 1.0)


def mean_or_zero(values: Tensor, axis: int | None = None) -> Tensor:
    """Returns the mean of values, 0 where there are none.

    Args:
        values: Float32 tensor.
        axis: Axis of the mean; None takes all values together.
    """
    shape = values.shape if axis is None else values.shape[axis : axis + 1]
    if None not in shape and 0 not in shape:
        return ops.mean(values, axis=axis)
    count = ops.sum(ops.ones_like(values), axis=axis)
    return ops.sum(values, axis=axis) / ops.maximum(count, 1.0)
