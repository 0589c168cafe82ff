"""Nearest-code search as a Triton kernel, for PyTorch on GPUs."""

import functools
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from keras_vq._types import Search
from keras_vq.backend.fused_search import choice


class Settings(NamedTuple):
    """Tile sizes and precision of a kernel."""

    rows: int
    tile: int
    # "tf32x3" computes a float32 product as three TF32 products on tensor cores, "ieee" without.
    precision: str
    warps: int


# Number of dimensions per product.
_DEPTH = 32
SETTINGS = (
    Settings(rows=64, tile=64, precision="ieee", warps=4),
    Settings(rows=64, tile=64, precision="tf32x3", warps=4),
    Settings(rows=128, tile=128, precision="tf32x3", warps=8),
)


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]  # Triton interprets annotations
    vectors,
    embeddings,
    biases,
    codes,
    count,
    codebook_size,
    dim,
    rows: tl.constexpr,
    tile: tl.constexpr,
    depth: tl.constexpr,
    precision: tl.constexpr,
):
    """Computes the argmax of the scores of `rows` vectors, over tiles of codes."""
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    lane = tl.arange(0, tile)
    best = tl.full((rows,), float("-inf"), tl.float32)
    index = tl.zeros((rows,), tl.int32)
    for start in range(0, codebook_size, tile):
        code = start + lane
        scores = tl.zeros((rows, tile), tl.float32)
        for first in range(0, dim, depth):
            place = first + tl.arange(0, depth)
            vector = tl.load(
                vectors + row[:, None].to(tl.int64) * dim + place[None, :],
                mask=(row[:, None] < count) & (place[None, :] < dim),
                other=0.0,
            )
            transposed = tl.load(
                embeddings + code[None, :].to(tl.int64) * dim + place[:, None],
                mask=(code[None, :] < codebook_size) & (place[:, None] < dim),
                other=0.0,
            )
            scores = tl.dot(vector, transposed, scores, input_precision=precision)
        bias = tl.load(biases + code, mask=code < codebook_size, other=float("-inf"))
        scores += bias[None, :]
        tile_best = tl.max(scores, axis=1)
        # Strictly greater, so that the lowest index wins a tie.
        is_better = tile_best > best
        best = tl.where(is_better, tile_best, best)
        index = tl.where(is_better, start + tl.argmax(scores, axis=1, tie_break_left=True), index)
    tl.store(codes + row, index, mask=row < count)


def by_kernel(vectors: torch.Tensor, embeddings: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Finds nearest codes: `(n, dim)`, `(codebook_size, dim)` -> int32 `(n,)`."""
    vectors, embeddings = vectors.contiguous(), embeddings.contiguous()
    codes = torch.empty(len(vectors), dtype=torch.int32, device=vectors.device)
    _kernel[(triton.cdiv(len(vectors), settings.rows),)](
        vectors,
        embeddings,
        -0.5 * embeddings.square().sum(1),
        codes,
        *(len(vectors), *embeddings.shape),
        rows=settings.rows,
        tile=settings.tile,
        depth=_DEPTH,
        precision=settings.precision,
        num_warps=settings.warps,
    )
    return codes


def or_blocks(by_blocks: Search) -> Search:
    """Returns a search by the fastest of the kernels and the blocks, timed once per size.

    The choice is a custom operation, so that torch.compile has no graph break there.

    Args:
        by_blocks: Callable that maps vectors `(n, dim)` and code vectors to int32 codes `(n,)`.
    """
    searches = {"by blocks": by_blocks}
    for settings in SETTINGS:
        name = f"fused, {settings.precision}, {settings.rows} x {settings.tile}"
        searches[name] = functools.partial(by_kernel, settings=settings)
    chosen: dict[tuple[object, ...], str] = {}

    @torch.library.custom_op("keras_vq::nearest_code", mutates_args=())
    def nearest_code(vectors: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        # Batch sizes with the same power of two share a choice.
        size = (vectors.device, len(vectors).bit_length(), *embeddings.shape)
        if size not in chosen:
            if _is_recorded(vectors):
                return by_blocks(vectors, embeddings)
            chosen[size] = choice.fastest(searches, vectors, embeddings, _wait)
        return searches[chosen[size]](vectors, embeddings)

    @nearest_code.register_fake
    def _(vectors: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        return vectors.new_empty(vectors.shape[0], dtype=torch.int32)

    def search(vectors: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        if len(vectors) * len(embeddings) < choice.LEAST_SCORES:
            return by_blocks(vectors, embeddings)  # visible to torch.compile, which fuses it
        return nearest_code(vectors.detach(), embeddings.detach())

    return search


def _is_recorded(vectors: torch.Tensor) -> bool:
    """Returns whether a CUDA graph is being recorded, during which nothing can be timed."""
    return vectors.is_cuda and torch.cuda.is_current_stream_capturing()


def _wait(codes: torch.Tensor) -> None:
    if codes.is_cuda:
        torch.cuda.synchronize(codes.device)
