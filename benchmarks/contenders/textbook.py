"""Textbook implementations in TensorFlow with full distance matrix, argmin and one-hot matrices.

- `keras.io`: codebook trained by gradient, as in the keras.io VQ-VAE example (S. Paul, 2021).
- `sonnet`: EMA codebook, as in `VectorQuantizerEMA` of Sonnet 2 (van den Oord et al., 2017,
  appendix A.1).
"""

from collections.abc import Callable

import tensorflow as tf

from benchmarks.contenders import inputs


def make(
    vectors: int, dim: int, codes: int, formulas: str, compiled: bool = False
) -> Callable[[], object]:
    """Builds a step of one of the two as a `tf.function`."""
    x = tf.constant(inputs(vectors, dim))
    codebook = tf.Variable(tf.random.normal((dim, codes)))
    by_gradient = formulas == "keras.io"
    if not by_gradient:
        count_averages = tf.Variable(tf.ones(codes))
        sum_averages = tf.Variable(codebook)

    @tf.function(jit_compile=compiled)
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            distances = (
                tf.reduce_sum(x**2, 1, keepdims=True)
                - 2 * x @ codebook
                + tf.reduce_sum(codebook**2, 0)
            )
            chosen = tf.one_hot(tf.argmin(distances, 1), codes)
            quantized = tf.matmul(chosen, codebook, transpose_b=True)
            loss = 0.25 * tf.reduce_mean((tf.stop_gradient(quantized) - x) ** 2)
            if by_gradient:
                loss += tf.reduce_mean((quantized - tf.stop_gradient(x)) ** 2)
            loss += tf.reduce_sum(x + tf.stop_gradient(quantized - x))
        if by_gradient:
            return tape.gradient(loss, [x, codebook])[0]
        count_averages.assign(0.99 * count_averages + 0.01 * tf.reduce_sum(chosen, 0))
        sum_averages.assign(0.99 * sum_averages + 0.01 * tf.matmul(x, chosen, transpose_a=True))
        total = tf.reduce_sum(count_averages)
        smoothed = (count_averages + 1e-5) / (total + codes * 1e-5) * total
        codebook.assign(sum_averages / smoothed)
        return tape.gradient(loss, x)

    return lambda: step().numpy()
