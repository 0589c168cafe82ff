"""What speed and memory were to reach, of the files of `results/`."""

from collections.abc import Callable, Iterator

from recipes._goals import Figures, Goal, cell

_OURS = {
    "TensorFlow, XLA": 1.15,
    "JAX": 1.15,
    "PyTorch": 1.6,
    "PyTorch, compiled": 1.6,
}
# By what is beside ours: ours, and how many times our time it was to take.
_THEIRS = {
    "vector-quantize-pytorch": ("PyTorch, compiled", 15),
    "vector-quantize-pytorch, compiled": ("PyTorch, compiled", 5),
    "Sonnet's formulas": ("TensorFlow, XLA", 2.5),
    "Sonnet's formulas, XLA": ("TensorFlow, XLA", 2.5),
    "keras.io's formulas": ("TensorFlow, XLA", 3),
    "keras.io's formulas, XLA": ("TensorFlow, XLA", 3),
}
_SMALL, _LARGE = "8192 x 64, 1024 codes", "8192 x 64, 8192 codes"
_MANY, _MOST = "4096 x 64, 16384 codes", "4096 x 32, 262144 codes"
_BACKENDS = ("TensorFlow", "TensorFlow, XLA", "JAX", "PyTorch", "PyTorch, compiled")
OWN = "ours"


def of_quantizers() -> Iterator[Goal]:
    """The step of a quantizer beside the product, and beside others' steps."""
    for size in (_SMALL, _LARGE):
        for name, limit in _OURS.items():
            yield Goal(
                f"{size}, {name}: times the bare product",
                "quantizer",
                cell(f"{size}: keras_vq on {name}", "times the product"),
                limit,
                OWN,
            )
    for theirs, (ours, limit) in _THEIRS.items():
        yield Goal(
            f"{_SMALL}: time of {theirs}, over ours on {ours}",
            "quantizer",
            _times(f"{_SMALL}: {theirs}", f"{_SMALL}: keras_vq on {ours}", "ms"),
            limit,
            OWN,
            is_least=True,
        )


def of_memory() -> Iterator[Goal]:
    """What a step takes beside its inputs, and a whole process with a large codebook."""
    for name in _BACKENDS:
        yield Goal(
            f"{_MANY}, {name}: rise in a step, MiB",
            "memory",
            cell(f"{_MANY}: keras_vq on {name}", "rise in a step, MiB"),
            64,
            OWN,
        )
    for name in _BACKENDS:
        yield Goal(
            f"{_MOST}, {name}: the process, MiB",
            "memory",
            cell(f"{_MOST}: keras_vq on {name}", "process, MiB"),
            2048,
            OWN,
        )


def of_kinds() -> Iterator[Goal]:
    """Eight residual levels are eight searches and little more."""
    for name in ("TensorFlow, XLA", "JAX", "PyTorch"):
        yield Goal(
            f"eight residual levels on {name}: times one search",
            "kinds",
            cell(f"residual on {name}", "times one search"),
            8.5,
            OWN,
        )


def of_steps() -> Iterator[Goal]:
    """A model's step on the other backends, and what `fit` adds to it."""
    for network in ("keras.io's MNIST network, batch 128", "Sonnet's CIFAR-10 network, batch 32"):
        for name in ("JAX", "PyTorch"):
            yield Goal(
                f"{network}: step on {name}, times TensorFlow's",
                "step",
                cell(f"{network}: {name}", "times TensorFlow"),
                2,
                OWN,
            )
    for name in ("TensorFlow", "JAX", "PyTorch"):
        yield Goal(
            f"`fit` on {name}: times a loop by hand",
            "fit",
            cell(f"{name}: fit", "times the loop by hand"),
            1.05,
            OWN,
        )
    yield Goal("`keras-vq --help`, s", "start_up", cell("keras-vq --help", "s"), 0.5, OWN)


def _times(row: str, other: str, column: str) -> Callable[[Figures], float]:
    """How many times a row's figure is another's."""
    return lambda figures: figures[row][column] / figures[other][column]


GOALS = [*of_quantizers(), *of_memory(), *of_kinds(), *of_steps()]
