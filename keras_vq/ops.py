"""Pure functions of vector quantization: distances, nearest-code search, usage statistics."""

from keras import ops

from keras_vq import backend
from keras_vq._export_mode import is_traced_for_export
from keras_vq._search import argmax, centered, largest_of, map_rows, scores_of, search
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
    vectors, embeddings = centered(vectors, embeddings)
    products = ops.matmul(vectors, ops.transpose(embeddings))
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return ops.maximum(squares - 2.0 * products + ops.sum(ops.square(embeddings), axis=-1), 0.0)


def nearest_code(vectors: Tensor, embeddings: Tensor) -> Tensor:
    """Finds the nearest code of each vector; the lowest code wins a tie.

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
        >>> embeddings = np.array([[0.0, 0.0], [1.0, 1.0]], "float32")
        >>> np.array(nearest_code(vectors, embeddings))
        array([0, 1], dtype=int32)
    """
    vectors, embeddings = map(ops.stop_gradient, centered(vectors, embeddings))
    if is_traced_for_export():
        return argmax(scores_of(vectors, embeddings))
    return search(vectors, embeddings)


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
        >>> embeddings = np.array([[0.0], [1.0], [2.0]], "float32")
        >>> np.array(nearest_codes(np.array([[1.2]], "float32"), embeddings, 2))
        array([[1, 2]], dtype=int32)
    """
    vectors, embeddings = centered(vectors, embeddings)

    def best(rows: Tensor) -> Tensor:
        codes = ops.top_k(scores_of(rows, embeddings), count)[1]
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

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import sample_code
        >>> vectors, embeddings = np.zeros((3, 1), "float32"), np.array([[-1.0], [1.0]], "float32")
        >>> uniforms = np.array([0.2, 0.4, 0.9], "float32")  # both codes have probability 1/2
        >>> np.array(sample_code(vectors, embeddings, uniforms, temperature=1.0))
        array([0, 0, 1], dtype=int32)
    """
    vectors, embeddings = centered(vectors, embeddings)

    def draw(rows: Tensor) -> Tensor:
        logits = scores_of(rows[..., :-1], embeddings) * (2.0 / temperature)
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

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import stop_gradient_mse
        >>> values, targets = np.array([[1.0], [5.0]], "float32"), np.zeros((2, 1), "float32")
        >>> float(stop_gradient_mse(values, targets, mask=np.array([True, False])))
        1.0
    """
    errors = ops.mean(ops.square(values - ops.stop_gradient(targets)), axis=-1)
    return masked_mean(errors, mask)


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
    largest = ops.stop_gradient(largest_of(ops.abs(vectors)))
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

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import code_counts
        >>> np.array(code_counts(np.array([0, 2, 2], "int32"), codebook_size=4))
        array([1., 0., 2., 0.], dtype=float32)
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

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import code_sums
        >>> vectors = np.array([[1.0], [2.0], [3.0]], "float32")
        >>> np.array(code_sums(vectors, np.array([0, 1, 1], "int32"), codebook_size=2))
        array([[1.],
               [5.]], dtype=float32)
    """
    vectors = ops.convert_to_tensor(vectors)
    if weights is not None:
        vectors = vectors * ops.convert_to_tensor(weights)[:, None]
    return backend.segment_sum(vectors, codes, codebook_size)


def perplexity(counts: Tensor) -> Tensor:
    """Computes the perplexity of codebook usage, the exponential of its entropy.

    It is 1 if a single code is used, and codebook_size if usage is uniform.

    Args:
        counts: Tensor of shape `(codebook_size,)`. Count of each code, at least 0.

    Returns:
        Scalar float32 tensor in `[1, codebook_size]`; 1 if all counts are 0.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import perplexity
        >>> round(float(perplexity(np.array([5, 5, 0, 0]))), 4)
        2.0
    """
    counts = ops.cast(counts, "float32")
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

    Example:
        >>> import numpy as np
        >>> from keras import ops
        >>> from keras_vq.ops import replace_gradient
        >>> inputs = ops.convert_to_tensor(np.array([0.4, 1.7], "float32"))
        >>> np.array(replace_gradient(ops.round(inputs), inputs))  # gradient of `inputs`
        array([0., 2.], dtype=float32)
    """
    return ops.stop_gradient(value) + (gradient_of - ops.stop_gradient(gradient_of))


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Computes the mean of unmasked values.

    Args:
        values: Float32 tensor.
        mask: Boolean tensor of the same shape. `False` excludes a value; `None` keeps all.

    Returns:
        Scalar float32 tensor; 0 if no values are left.

    Example:
        >>> import numpy as np
        >>> from keras_vq.ops import masked_mean
        >>> values = np.array([1.0, 3.0, 100.0], "float32")
        >>> float(masked_mean(values, np.array([True, True, False])))
        2.0
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
