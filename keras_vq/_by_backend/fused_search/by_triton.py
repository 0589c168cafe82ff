"""The search as a Triton kernel, for PyTorch on a GPU."""

import functools
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from keras_vq._by_backend.fused_search import choice
from keras_vq._types import Search


class Settings(NamedTuple):
    """How a kernel divides its work, and what its products are made of."""

    rows: int
    codes: int
    # "tf32x3" makes a float32 product of three TF32 products on tensor cores; "ieee" does without.
    precision: str
    warps: int


# Dimensions of a product at a time.
_DEPTH = 32
SETTINGS = (
    Settings(rows=64, codes=64, precision="ieee", warps=4),
    Settings(rows=64, codes=64, precision="tf32x3", warps=4),
    Settings(rows=128, codes=128, precision="tf32x3", warps=8),
)


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]  # Triton takes types from annotations
    vectors,
    codes,
    biases,
    indices,
    count,
    codebook_size,
    dim,
    rows: tl.constexpr,
    tile: tl.constexpr,
    depth: tl.constexpr,
    precision: tl.constexpr,
):
    """First index of the highest score of each of `rows` vectors, over tiles of codes."""
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
                codes + code[None, :].to(tl.int64) * dim + place[:, None],
                mask=(code[None, :] < codebook_size) & (place[:, None] < dim),
                other=0.0,
            )
            scores = tl.dot(vector, transposed, scores, input_precision=precision)
        bias = tl.load(biases + code, mask=code < codebook_size, other=float("-inf"))
        scores += bias[None, :]
        tile_best = tl.max(scores, axis=1)
        # Of an earlier tile in a tie: the lowest index wins.
        is_better = tile_best > best
        best = tl.where(is_better, tile_best, best)
        index = tl.where(is_better, start + tl.argmax(scores, axis=1, tie_break_left=True), index)
    tl.store(indices + row, index, mask=row < count)


def by_kernel(vectors: torch.Tensor, codes: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Index of the nearest code: `(n, dim)`, `(codebook_size, dim)` -> int32 `(n,)`."""
    vectors, codes = vectors.contiguous(), codes.contiguous()
    indices = torch.empty(len(vectors), dtype=torch.int32, device=vectors.device)
    _kernel[(triton.cdiv(len(vectors), settings.rows),)](
        vectors,
        codes,
        -0.5 * codes.square().sum(1),
        indices,
        *(len(vectors), *codes.shape),
        rows=settings.rows,
        tile=settings.codes,
        depth=_DEPTH,
        precision=settings.precision,
        num_warps=settings.warps,
    )
    return indices


def or_blocks(by_blocks: Search) -> Search:
    """The fastest of the kernels and the search by blocks, tried once for each size.

    It is one operation to torch.compile, which so breaks no graph at the choice.

    Args:
        by_blocks: Takes vectors `(n, dim)` and codes, gives int32 indices `(n,)`.
    """
    searches = {"by blocks": by_blocks}
    for settings in SETTINGS:
        name = f"fused, {settings.precision}, {settings.rows} x {settings.codes}"
        searches[name] = functools.partial(by_kernel, settings=settings)
    chosen: dict[tuple[object, ...], str] = {}

    @torch.library.custom_op("keras_vq::nearest_code", mutates_args=())
    def nearest_code(vectors: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        # Batches of about one size go alike.
        size = (vectors.device, len(vectors).bit_length(), *codes.shape)
        if size not in chosen:
            if _is_recorded(vectors):
                return by_blocks(vectors, codes)
            chosen[size] = choice.fastest(searches, vectors, codes, _wait)
        return searches[chosen[size]](vectors, codes)

    @nearest_code.register_fake
    def _(vectors: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        return vectors.new_empty(vectors.shape[0], dtype=torch.int32)

    def search(vectors: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        if len(vectors) * len(codes) < choice.LEAST_SCORES:
            return by_blocks(vectors, codes)  # where torch.compile sees it, and fuses it
        return nearest_code(vectors.detach(), codes.detach())

    return search


def _is_recorded(vectors: torch.Tensor) -> bool:
    """Whether a CUDA graph is being recorded, which no time can be taken in."""
    return vectors.is_cuda and torch.cuda.is_current_stream_capturing()


def _wait(indices: torch.Tensor) -> None:
    if indices.is_cuda:
        torch.cuda.synchronize(indices.device)
