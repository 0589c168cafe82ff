"""Measures speed and memory, and writes the tables: `python -m benchmarks --help`."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import (
    _processes,
    fit_overhead,
    precision,
    pretrained,
    quantizer,
    start_up,
    whole_step,
)
from recipes import _machine

Rows = Iterator[tuple[str, dict[str, Any]]]
RESULTS = Path(__file__).parent / "results"
FOLDER = RESULTS / "gpu" if _processes.accelerator() else RESULTS
OURS = [name for name in quantizer.CONTENDERS if name.startswith("keras_vq")]
_RIVALS = ("vector-quantize-pytorch", "vector-quantize-pytorch, compiled")
_EPILOG = """\
benchmarks:
  quantizer   a quantizer's training step beside the bare product of vectors and codes, and beside
              other code for the same, at 8,192 x 64 with 1,024 and 8,192 codes
  parts       what its step is made of: the search, the statistics of codes, the look-up
  sizes       the same for growing numbers of vectors, dimensions and codes
  memory      by how much memory rises in a step: 16,384 codes, and 262,144 codes
  search      the search for nearest codes beside PyTorch's cdist and argmin, to 262,144 codes
  kinds       FSQ, LFQ and eight residual stages beside one search
  step        a whole training step of a VQ-VAE on each backend, and by hand in PyTorch
  fit         what `fit` costs beside a loop written by hand
  precision   a training step in mixed precision, and how many codes it changes
  pretrained  encoding and decoding of 256 x 256 images with the network of VQModel, beside
              diffusers on PyTorch
  start_up    seconds until the command helps and the package is imported

examples:
  python -m benchmarks quantizer step
  python -m benchmarks sizes --rounds 3
  python -m benchmarks --write-only      writes README.md and pictures from what was measured

Where there is a GPU of NVIDIA's, JAX and PyTorch use it, and results go to benchmarks/results/gpu.
"""


def _quantizer(rounds: int, threads: int) -> Rows:
    return quantizer.rows([8192], [64], [1024, 8192], list(quantizer.CONTENDERS), rounds, threads)


def _sizes(rounds: int, threads: int) -> Rows:
    ours = [f"keras_vq on {backend}" for backend in ("TensorFlow, XLA", "JAX", "PyTorch")]
    names = [quantizer.BASE, *ours]
    yield from quantizer.rows(
        quantizer.VECTORS, [64], quantizer.CODES, [*names, _RIVALS[0]], rounds, threads
    )
    yield from quantizer.rows([8192], [256], quantizer.CODES, names, rounds, threads)


def _memory(rounds: int, threads: int) -> Rows:
    del rounds
    names = [*OURS, *_RIVALS]
    yield from quantizer.rows([4096], [64], [16_384], names, 1, threads)
    yield from quantizer.rows([4096], [32], [262_144], OURS, 1, threads)


def _step(rounds: int, threads: int) -> Rows:
    return whole_step.rows(list(whole_step.CONTENDERS), rounds, threads)


def _start_up(rounds: int, threads: int) -> Rows:
    return start_up.rows(rounds, threads)


BENCHMARKS: dict[str, Callable[[int, int], Rows]] = {
    "quantizer": _quantizer,
    "parts": quantizer.parts,
    "sizes": _sizes,
    "memory": _memory,
    "search": quantizer.searches,
    "kinds": quantizer.kinds,
    "step": _step,
    "fit": fit_overhead.rows,
    "precision": precision.rows,
    "pretrained": pretrained.rows,
    "start_up": _start_up,
}
# Quantizers run on one core, because ratios on several cores depend on the memory bandwidth. Whole
# training steps run on all cores.
_ON_ALL_CORES = ("step", "fit", "precision", "start_up")


def main() -> None:
    """Runs the selected benchmarks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__.splitlines()[0].partition(":")[0] + ".",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="BENCHMARK", help="which (default: quantizer and step)"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="turns of each contender (default: 7)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        help="cores, and threads of each library (default: 1, of whole steps all)",
    )
    parser.add_argument("--write-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"expected some of {', '.join(BENCHMARKS)}, received {sorted(unknown)[0]!r}")
    from benchmarks import report  # Imports Keras, so it is not at the top.

    if not arguments.write_only:
        for name in arguments.names or ("quantizer", "step"):
            measure(name, arguments.rounds, arguments.threads)
    report.write(FOLDER)


def measure(name: str, rounds: int, threads: int | None) -> None:
    """Runs one benchmark and saves its rows."""
    from recipes.common import Stopwatch, save, shown

    stopwatch = Stopwatch()
    if threads is None:
        threads = _processes.threads_of_machine() if name in _ON_ALL_CORES else 1
    rows = {}
    for title, row in BENCHMARKS[name](rounds, threads):
        rows[title] = row
        figures = {key: shown(value, 3) for key, value in row.items() if isinstance(value, float)}
        print(f"{title}: {figures or row.get('failed')}", flush=True)
    save(name_of_results(name), rows, None, stopwatch, FOLDER)


def name_of_results(name: str) -> str:
    """Returns the name of the results; CPUs without native bfloat16 have a separate table."""
    if name == "precision" and not _machine.computes_in_bfloat16():
        return "precision_emulated"
    return name


if __name__ == "__main__":
    main()
