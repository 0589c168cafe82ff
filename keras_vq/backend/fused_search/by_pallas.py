"""Nearest-code search as a Pallas kernel, for JAX on GPUs."""

import functools
from collections.abc import Callable
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as pallas_triton

from keras_vq._types import Search
from keras_vq.backend.fused_search import choice

# Vectors per program, codes and dimensions per product: powers of two, as Triton requires.
_ROWS, _CODES, _DEPTH = 64, 64, 32

# Bias of padding: below every real score, and finite, since infinity times zero is NaN.
_NEVER = -3e38


def _kernel(vectors_ref: Any, codes_ref: Any, biases_ref: Any, indices_ref: Any) -> None:
    """Computes the argmax of the scores of `_ROWS` vectors, over tiles of `_CODES` codes."""
    codebook_size, dim = codes_ref.shape

    def tile(number: jax.Array, best: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        score, index = best
        embeddings = pl.ds(number * _CODES, _CODES)
        scores = jnp.broadcast_to(biases_ref[embeddings][None], (_ROWS, _CODES))
        for first in range(0, dim, _DEPTH):
            depth = pl.ds(first, _DEPTH)
            scores += jnp.dot(
                vectors_ref[:, depth],
                codes_ref[embeddings, depth].T,
                precision=jax.lax.Precision.HIGHEST,
            )
        tile_best = jnp.max(scores, axis=1)
        lane = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1)
        first_best = jnp.min(jnp.where(scores >= tile_best[:, None], lane, _CODES - 1), axis=1)
        # Strictly greater, so that the lowest index wins a tie.
        is_better = tile_best > score
        return (
            jnp.where(is_better, tile_best, score),
            jnp.where(is_better, number * _CODES + first_best, index),
        )

    start = jnp.full(_ROWS, -jnp.inf, jnp.float32), jnp.zeros(_ROWS, jnp.int32)
    indices_ref[:] = jax.lax.fori_loop(0, codebook_size // _CODES, tile, start)[1]


def search(vectors: jax.Array, embeddings: jax.Array, interpret: bool = False) -> jax.Array:
    """Finds the nearest code of each vector; the lowest index wins a tie.

    Args:
        vectors: Float32 array of shape `(n, dim)`.
        embeddings: Float32 array of shape `(codebook_size, dim)`. Code vectors.
        interpret: Boolean. Whether to use Pallas's interpreter, which needs no GPU. Defaults to
            `False`.

    Returns:
        Int32 array of codes, of shape `(n,)`.
    """
    count = len(vectors)
    biases = _padded(-0.5 * jnp.sum(jnp.square(embeddings), axis=1), (_CODES,), _NEVER)
    vectors, embeddings = _padded(vectors, (_ROWS, _DEPTH)), _padded(embeddings, (_CODES, _DEPTH))
    rows, dim = vectors.shape
    codes = pl.pallas_call(
        _kernel,
        grid=(rows // _ROWS,),
        in_specs=[
            pl.BlockSpec((_ROWS, dim), lambda program: (program, 0)),
            pl.BlockSpec(embeddings.shape, lambda program: (0, 0)),
            pl.BlockSpec(biases.shape, lambda program: (0,)),
        ],
        out_specs=pl.BlockSpec((_ROWS,), lambda program: (program,)),
        out_shape=jax.ShapeDtypeStruct((rows,), jnp.int32),
        compiler_params=pallas_triton.CompilerParams(num_warps=4, num_stages=3),
        interpret=interpret,
    )(vectors, embeddings, biases)
    return codes[:count]


def _padded(array: jax.Array, multiples: tuple[int, ...], value: float = 0.0) -> jax.Array:
    """Pads each axis to a multiple of a given size."""
    widths = [(0, -size % of) for size, of in zip(array.shape, multiples, strict=True)]
    return jnp.pad(array, widths, constant_values=value)


@functools.cache
def or_blocks(by_blocks: Search, fused: Search = search) -> Search:
    """Returns a search by the faster of kernel and blocks, timed once per size during tracing.

    Args:
        by_blocks: Callable that maps vectors `(n, dim)` and code vectors to int32 codes `(n,)`.
        fused: Callable with the same arguments and result. Defaults to `search`.
    """
    searches: dict[str, Search] = {"by blocks": jax.jit(by_blocks), "fused": jax.jit(fused)}
    chosen: dict[tuple[int, ...], str] = {}

    def nearest_code(vectors: jax.Array, embeddings: jax.Array) -> jax.Array:
        if len(vectors) * len(embeddings) < choice.LEAST_SCORES:
            return by_blocks(vectors, embeddings)
        size = (len(vectors), *embeddings.shape)
        if size not in chosen:
            chosen[size] = _outside_of_tracing(functools.partial(_fastest, searches, size))
        return (by_blocks if chosen[size] == "by blocks" else fused)(vectors, embeddings)

    return nearest_code


def _fastest(searches: dict[str, Search], size: tuple[int, ...]) -> str:
    count, codebook_size, dim = size
    keys = jax.random.split(jax.random.key(0))
    vectors = jax.random.normal(keys[0], (count, dim))
    embeddings = jax.random.normal(keys[1], (codebook_size, dim))
    return choice.fastest(searches, vectors, embeddings, jax.block_until_ready)


def _outside_of_tracing(function: Callable[[], str]) -> str:
    """Runs a function in another thread, where it computes even while this thread traces."""
    with futures.ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()
