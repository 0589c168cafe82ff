"""Training step of a quantizer relative to the bare product of vectors and code vectors."""

import importlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks import _processes

# By name: file in `contenders`, Keras backend, and options of its `make`.
CONTENDERS: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "bare product": ("product", None, {}),
    "keras_vq on TensorFlow": ("ours", "tensorflow", {}),
    "keras_vq on TensorFlow, XLA": ("ours", "tensorflow", {"compiled": True}),
    "keras_vq on JAX": ("ours", "jax", {}),
    "keras_vq on PyTorch": ("ours", "torch", {}),
    "keras_vq on PyTorch, compiled": ("ours", "torch", {"compiled": True}),
    "vector-quantize-pytorch": ("vector_quantize_pytorch", None, {}),
    "vector-quantize-pytorch, compiled": ("vector_quantize_pytorch", None, {"compiled": True}),
    "Sonnet's formulas": ("textbook", None, {"formulas": "sonnet"}),
    "Sonnet's formulas, XLA": ("textbook", None, {"formulas": "sonnet", "compiled": True}),
    "keras.io's formulas": ("textbook", None, {"formulas": "keras.io"}),
    "keras.io's formulas, XLA": ("textbook", None, {"formulas": "keras.io", "compiled": True}),
    "faiss, search alone": ("faiss", None, {}),
}
# Other kinds of quantizers (`ResidualQuantizer` with eight stages), relative to one search of
# `VectorQuantizer`.
KINDS: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    f"{kind} on {name}": ("ours", backend, {"kind": kind, "compiled": name.endswith("XLA")})
    for name, backend in (
        ("TensorFlow, XLA", "tensorflow"),
        ("JAX", "jax"),
        ("PyTorch", "torch"),
    )
    for kind in ("vector", "residual", "fsq", "lfq")
}
# Parts of a step without gradients.
PARTS = ("search", "statistics", "look-up")
# Search only; the first row is the base.
SEARCHES: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "PyTorch, cdist and argmin": ("distances", None, {}),
    "PyTorch, cdist and argmin, compiled": ("distances", None, {"compiled": True}),
    "keras_vq on TensorFlow, XLA": ("parts", "tensorflow", {"part": "search", "compiled": True}),
    "keras_vq on JAX": ("parts", "jax", {"part": "search"}),
    "keras_vq on PyTorch": ("parts", "torch", {"part": "search"}),
}
# Backends that support a fused kernel.
BLOCKS: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "keras_vq on JAX, by blocks": ("parts", "jax", {"part": "blocks"}),
    "keras_vq on PyTorch, by blocks": ("parts", "torch", {"part": "blocks"}),
}
SMALL = {"vectors": 8192, "dim": 64, "codes": 1024}
SEARCHED_CODES = (1_024, 8_192, 65_536, 262_144)
VECTORS, CODES = (8_192, 65_536), (512, 1_024, 8_192, 65_536)
# Contenders that hold up to six matrices of all vectors and codes are left out if one matrix would
# exceed this size.
_MOST_SCORES = 2**28
_HOLD_ALL = ("vector_quantize_pytorch", "textbook")
BASE = "bare product"
# The memory placement of a process makes the product with 1,024 codes take 7 or 11 ms on one
# machine, so it is measured in several processes.
_PROCESSES = {BASE: 5}


def make(contender: str, vectors: int, dim: int, codes: int, **options: Any) -> Callable[[], Any]:
    """Builds the step of a contender, for a worker."""
    made = importlib.import_module(f"benchmarks.contenders.{contender}")
    return made.make(vectors, dim, codes, **options)


def _task(contender: str, size: dict[str, int], options: dict[str, Any]) -> dict[str, Any]:
    """Returns the task of a worker."""
    return {"of": "quantizer", "contender": contender, **size, **options}


def kinds(rounds: int, threads: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields a row per backend and kind of quantizer, relative to a search."""
    for backend in _processes.BACKENDS.values():
        names = [name for name, (_, on, _) in KINDS.items() if on == backend]
        tasks = {}
        for name in names:
            contender, _, options = KINDS[name]
            tasks[name] = (_task(contender, SMALL, options), backend)
        found = _processes.race(tasks, rounds, threads)
        base = next(turns for name, turns in found.items() if name.startswith("vector"))
        for name, turns in found.items():
            yield name, _processes.as_row(turns, base, "times one search")


def searches(rounds: int, threads: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields a row per codebook size and search, compared with plain PyTorch."""
    on_gpu = _processes.accelerator() is not None
    # GPUs need many vectors per call; on CPUs the full distance matrix must fit into memory.
    vectors = 8192 if on_gpu else 2048
    contenders = SEARCHES | (BLOCKS if on_gpu else {})
    base = next(iter(SEARCHES))
    for codes in SEARCHED_CODES:
        size = {"vectors": vectors, "dim": 64, "codes": codes}
        tasks = {
            name: (_task(contender, size, options), backend)
            for name, (contender, backend, options) in contenders.items()
        }
        found = _processes.race(tasks, rounds, threads)
        for name, turns in found.items():
            row = _processes.as_row(turns, found[base], "times cdist")
            yield f"{vectors} x 64, {codes} codes: {name}", row


def parts(rounds: int, threads: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the parts of a step and the whole step for each of our contenders."""
    product, _, _ = CONTENDERS[BASE]
    for name, (contender, backend, options) in CONTENDERS.items():
        if contender != "ours":
            continue
        tasks: dict[str, tuple[dict[str, Any], str | None]] = {
            BASE: (_task(product, SMALL, {}), None)
        }
        for part in PARTS:
            tasks[f"{name}: {part}"] = (_task("parts", SMALL, {"part": part, **options}), backend)
        tasks[f"{name}: the whole step"] = (_task(contender, SMALL, options), backend)
        found = _processes.race(tasks, rounds, threads, processes=_PROCESSES)
        for row, turns in found.items():
            if row != BASE:
                yield row, _processes.as_row(turns, found[BASE], "times the product")


def rows(
    vectors: Sequence[int],
    dims: Sequence[int],
    codes: Sequence[int],
    names: Sequence[str],
    rounds: int,
    threads: int,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields a row per size and contender."""
    for d, n, k in itertools.product(dims, vectors, codes):
        tasks = {}
        for name in names:
            contender, backend, options = CONTENDERS[name]
            if contender in _HOLD_ALL and n * k > _MOST_SCORES:
                continue
            size = {"vectors": n, "dim": d, "codes": k}
            tasks[name] = (_task(contender, size, options), backend)
        found = _processes.race(tasks, rounds, threads, with_memory=True, processes=_PROCESSES)
        for name, turns in found.items():
            row: dict[str, Any] = {"vectors": n, "dim": d, "codes": k, "contender": name}
            row |= _processes.as_row(turns, found.get(BASE), "times the product")
            if isinstance(turns, _processes.Turns) and turns.memory is not None:
                memory = turns.memory
                row |= {"rise in a step, MiB": memory.rise, "process, MiB": memory.peak}
            yield f"{n} x {d}, {k} codes: {name}", row
