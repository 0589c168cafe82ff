"""Goals for speed and memory figures in `results/`."""

from collections.abc import Callable, Iterator

from benchmarks._processes import BACKENDS
from benchmarks.fit_overhead import BY_FIT
from benchmarks.whole_step import BASE, BY_HAND, NETWORKS
from recipes._goals import OURS, Figures, Goal, cell

# Upper bound of the time relative to the bare matrix product, by contender.
_TIMES_THE_PRODUCT = {
    "TensorFlow, XLA": 1.15,
    "JAX": 1.15,
    "PyTorch": 1.6,
    "PyTorch, compiled": 1.6,
}
# By other implementation: our contender, and the lower bound of the speed ratio.
_THEIRS = {
    "vector-quantize-pytorch": ("PyTorch, compiled", 15),
    "vector-quantize-pytorch, compiled": ("PyTorch, compiled", 5),
    "Sonnet's formulas": ("TensorFlow, XLA", 2.5),
    "Sonnet's formulas, XLA": ("TensorFlow, XLA", 2.5),
    "keras.io's formulas": ("TensorFlow, XLA", 3),
    "keras.io's formulas, XLA": ("TensorFlow, XLA", 3),
}
_SMALL, _LARGE = "8192 x 64, 1024 codes", "8192 x 64, 8192 codes"
# By size: column and upper bound in MiB.
_MEMORY = {
    "4096 x 64, 16384 codes": ("rise in a step, MiB", 64),
    "4096 x 32, 262144 codes": ("process, MiB", 2048),
}


def at_most(name: str, text: str, row: str, column: str, limit: float) -> Goal:
    """Returns a goal with an upper bound."""
    return Goal(text, name, cell(row, column), limit, OURS)


def of_quantizers() -> Iterator[Goal]:
    """Yields goals for quantizer steps relative to the product and to other implementations."""
    for size in (_SMALL, _LARGE):
        for name, limit in _TIMES_THE_PRODUCT.items():
            text, row = f"{size}, {name}: times the bare product", f"{size}: keras_vq on {name}"
            yield at_most("quantizer", text, row, "times the product", limit)
    for theirs, (ours, limit) in _THEIRS.items():
        yield Goal(
            f"{_SMALL}: time of {theirs}, over ours on {ours}",
            "quantizer",
            _times(f"{_SMALL}: {theirs}", f"{_SMALL}: keras_vq on {ours}", "ms"),
            limit,
            OURS,
            is_least=True,
        )


def of_memory() -> Iterator[Goal]:
    """Yields goals for the memory of a step and of a process with a large codebook."""
    for size, (column, limit) in _MEMORY.items():
        for name in ("TensorFlow", *_TIMES_THE_PRODUCT):
            text = f"{size}, {name}: {column.replace('process', 'the process')}"
            yield at_most("memory", text, f"{size}: keras_vq on {name}", column, limit)


def of_kinds() -> Iterator[Goal]:
    """Yields the goal that eight residual stages cost little more than eight searches."""
    for name in ("TensorFlow, XLA", "JAX", "PyTorch"):
        text = f"eight residual stages on {name}: times one search"
        yield at_most("kinds", text, f"residual on {name}", "times one search", 8.5)


def of_steps() -> Iterator[Goal]:
    """Yields goals for model steps on other backends and for the overhead of `fit`."""
    for network in NETWORKS:
        for name in BACKENDS:
            if name != BASE:
                text, row = f"{network}: step on {name}, times TensorFlow's", f"{network}: {name}"
                yield at_most("step", text, row, "times TensorFlow", 2)
        for theirs, ours in zip(BY_HAND, ("PyTorch", "PyTorch, compiled"), strict=True):
            yield Goal(
                f"{network}: images/s on {ours}, over those of {theirs}",
                "step",
                _times(f"{network}: {ours}", f"{network}: {theirs}", "images/s"),
                1,
                OURS,
                is_least=True,
            )
    for name in BACKENDS:
        text = f"`fit` on {name}: times a loop by hand"
        yield at_most("fit", text, f"{name}: {BY_FIT}", "times the loop by hand", 1.05)
    yield at_most("start_up", "`keras-vq --help`, s", "keras-vq --help", "s", 0.5)


def _times(row: str, other: str, column: str) -> Callable[[Figures], float]:
    """Returns a function that computes the ratio of two rows."""
    return lambda figures: figures[row][column] / figures[other][column]


GOALS = [*of_quantizers(), *of_memory(), *of_kinds(), *of_steps()]
