"""Pure functions of vector quantization: distances, the nearest code, statistics per code."""

from keras import ops

from keras_vq._types import Tensor

# The search holds at most this many scores at a time (4 MiB of float32): they stay in the
# processor's cache, and memory does not grow with vectors x codes.
SCORES_PER_BLOCK = 2**20

# Width of the inner level of the two-level argmax.
_LANES = 32

# Below every score of a real code, and finite, so that it survives the matrix product.
_NEVER = -3e38


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
    vectors, codes = ops.convert_to_tensor(vectors), ops.convert_to_tensor(codes)
    products = ops.matmul(vectors, ops.transpose(codes))
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return ops.maximum(squares - 2.0 * products + ops.sum(ops.square(codes), axis=-1), 0.0)


def nearest_code(vectors: Tensor, codes: Tensor) -> Tensor:
    """Index of the code nearest to each vector; the lowest index wins a tie.

    Minimising |x - e|² over the codes e is maximising x·e - |e|²/2, so a code's bias rides in
    the matrix product as one more column, and no pass over the score matrix adds norms. Vectors
    are taken in blocks, so that no more than `SCORES_PER_BLOCK` scores (or one row of them)
    exist at a time.

    Args:
        vectors: Float32 tensor of shape `(n, dim)`, finite.
        codes: Float32 tensor of shape `(codebook_size, dim)`, finite.

    Returns:
        Int32 tensor of shape `(n,)`.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import nearest_code
        >>> vectors = np.array([[0.1, 0.0], [0.8, 0.9]], "float32")
        >>> codes = np.array([[0.0, 0.0], [1.0, 1.0]], "float32")
        >>> np.array(nearest_code(vectors, codes))
        array([0, 1], dtype=int32)
    """
    vectors, codes = ops.convert_to_tensor(vectors), ops.convert_to_tensor(codes)
    scorer = _scorer(codes)
    vectors = ops.pad(vectors, [[0, 0], [0, 1]], constant_values=1.0)
    count = ops.shape(vectors)[0]
    block = max(1, SCORES_PER_BLOCK // scorer.shape[1])
    if isinstance(count, int) and count <= block:
        return _best_code(vectors, scorer)

    missing = (block - count % block) % block
    blocks = ops.reshape(ops.pad(vectors, [[0, missing], [0, 0]]), (-1, block, vectors.shape[1]))
    indices = ops.map(lambda rows: _best_code(rows, scorer), blocks)
    return ops.reshape(indices, (-1,))[:count]


def _scorer(codes: Tensor) -> Tensor:
    """The (dim + 1, codes) matrix whose product with (vector, 1) scores each code."""
    bias = -0.5 * ops.sum(ops.square(codes), axis=-1, keepdims=True)
    padding = -codes.shape[0] % _LANES
    codes = ops.pad(codes, [[0, padding], [0, 0]])
    bias = ops.pad(bias, [[0, padding], [0, 0]], constant_values=_NEVER)
    return ops.transpose(ops.concatenate([codes, bias], axis=1))


def _best_code(vectors: Tensor, scorer: Tensor) -> Tensor:
    """First index of the highest score of each row, found in two levels.

    An argmax along all the codes is scalar work on a processor; the maximum of each group of
    `_LANES` scores is vector work, and leaves an argmax over far fewer numbers.
    """
    scores = ops.reshape(ops.matmul(vectors, scorer), (-1, scorer.shape[1] // _LANES, _LANES))
    group_best = ops.max(scores, axis=-1)
    group = _first_maximum(group_best)
    winners = ops.take_along_axis(scores, group[:, None, None], axis=1)[:, 0, :]
    return group * _LANES + _first_maximum(winners)


def _first_maximum(values: Tensor) -> Tensor:
    # An argmax of floats costs extra bit operations on two backends, and export formats refuse
    # them; an argmax of integers does not.
    is_maximum = values >= ops.max(values, axis=-1, keepdims=True)
    return ops.cast(ops.argmax(ops.cast(is_maximum, "int32"), axis=-1), "int32")


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
    return ops.segment_sum(weights, indices, num_segments=codebook_size)


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
    return ops.segment_sum(vectors, indices, num_segments=codebook_size)


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


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the values where the mask is true; of all of them when there is no mask.

    Args:
        values: Float32 tensor.
        mask: Boolean tensor of the same shape, or None.

    Returns:
        Scalar float32 tensor; 0 when the mask is false everywhere.
    """
    values = ops.convert_to_tensor(values)
    if mask is None:
        return ops.mean(values)
    kept = ops.sum(ops.where(mask, values, 0.0))
    return kept / ops.maximum(ops.sum(ops.cast(mask, "float32")), 1.0)


def sample_rows(vectors: Tensor, weights: Tensor, uniforms: Tensor) -> Tensor:
    """Draws rows of a matrix with probabilities in proportion to their weights.

    Args:
        vectors: Tensor of shape `(n, dim)`.
        weights: Float32 tensor of shape `(n,)`, not negative; a row of weight 0 is never drawn,
            unless all are 0.
        uniforms: Float32 tensor of shape `(m,)`, uniform in [0, 1): one a draw.

    Returns:
        Tensor of shape `(m, dim)`.
    """
    vectors, uniforms = ops.convert_to_tensor(vectors), ops.convert_to_tensor(uniforms)
    cumulative = ops.cumsum(weights)
    positions = ops.searchsorted(cumulative, uniforms * cumulative[-1], side="right")
    # A uniform close to 1 times the rounded total may fall past the end.
    positions = ops.minimum(ops.cast(positions, "int32"), ops.shape(vectors)[0] - 1)
    return ops.take(vectors, positions, axis=0)
