"""Contenders in processes of their own, which take turns: A B A B.

What disturbs a machine for some seconds so disturbs all alike, and each has its library's threads
to itself. A process that waits for its turn does nothing.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from benchmarks import _memory
from recipes._machine import accelerator

BACKENDS = {"TensorFlow": "tensorflow", "JAX": "jax", "PyTorch": "torch"}


class Memory(NamedTuple):
    """What a step takes, in MiB."""

    rise: float  # by which memory rose
    peak: float  # of the whole process


class Turns(NamedTuple):
    """What a contender's turns gave."""

    seconds: float  # median of the turns, each the mean of its steps
    spread: float  # from the first to the third quartile, over the median
    memory: Memory | None = None


class Failure(NamedTuple):
    """Why a contender gave nothing."""

    reason: str


def environment(backend: str | None, threads: int) -> dict[str, str]:
    """Environment of a process on a Keras backend with so many threads in every library."""
    count = str(threads)
    return {
        **os.environ,
        "KERAS_BACKEND": backend or "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "TF_NUM_INTRAOP_THREADS": count,
        "TF_NUM_INTEROP_THREADS": "1",
        # Compiled modules are kept, as where pip installed them.
        "PYTHONDONTWRITEBYTECODE": "",
    }


class Worker:
    """A process that does steps of one contender when told to."""

    def __init__(
        self,
        task: Mapping[str, Any],
        backend: str | None,
        threads: int,
        more: Mapping[str, str] | None = None,
    ) -> None:
        cores = sorted(os.sched_getaffinity(0))[:threads]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._worker", json.dumps(task)],
            env={**environment(backend, threads), **(more or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def asked(self, what: str) -> Any:
        """The worker's answer; None if it ended."""
        try:
            self.process.stdin.write(f"{what}\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            return None

    def last_words(self) -> str:
        """Why it ended."""
        lines = [line for line in self.process.stderr.read().splitlines() if line.strip()]
        return lines[-1].strip()[:200] if lines else f"ended with code {self.process.wait()}"


def race(
    contenders: Mapping[str, tuple[Mapping[str, Any], str | None]],
    rounds: int,
    threads: int,
    with_memory: bool = False,
    processes: Mapping[str, int] | None = None,
    environments: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Turns | Failure]:
    """Lets contenders take turns.

    Args:
        contenders: By name, what `_worker.py` makes one of, and its Keras backend.
        rounds: Turns of each.
        threads: Cores, and threads of each library.
        with_memory: Whether to measure memory too, in a fresh process of each.
        processes: In how many processes those named here take turns; others in one.
        environments: What is added to the environment of those named here.

    Returns:
        By name what the turns gave.
    """
    found: dict[str, Turns | Failure] = {}
    with ExitStack() as stack:
        workers: dict[str, list[Worker]] = {}
        for name, (task, backend) in contenders.items():
            for _ in range((processes or {}).get(name, 1)):
                more = (environments or {}).get(name)
                worker = stack.enter_context(Worker(task, backend, threads, more))
                # One after the other: compiling at the same time they would want more memory.
                if worker.asked("prepare") is None:
                    found[name] = Failure(worker.last_words())
                    break
                workers.setdefault(name, []).append(worker)
        turns: dict[str, list[float]] = {name: [] for name in workers if name not in found}
        for _ in range(rounds):
            for name, times in turns.items():
                times += [worker.asked("run") for worker in workers[name]]
        for name, times in turns.items():
            first, median, third = np.percentile(times, (25, 50, 75))
            found[name] = Turns(float(median), float((third - first) / median))
    # Of a GPU's memory a process says nothing.
    if with_memory and accelerator() is None:
        for name, turns in found.items():
            if isinstance(turns, Turns):
                found[name] = turns._replace(memory=_memory_of(*contenders[name], threads))
    return {name: found[name] for name in contenders}


def _memory_of(task: Mapping[str, Any], backend: str | None, threads: int) -> Memory | None:
    """What a step of a contender takes, in a process of its own; None if it ended."""
    with Worker(task, backend, threads, _memory.EXACT) as worker:
        worker.asked("prepare")
        memory = worker.asked("memory")
        return None if memory is None else Memory(*memory)


def answer(expression: str, backend: str, threads: int) -> float:
    """The number that an expression of the modules of `benchmarks` has on a Keras backend."""
    module = expression.partition(".")[0]
    code = f"from benchmarks import {module}; print('answer', {expression})"
    lines = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(backend, threads),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.splitlines()
    return float(next(line for line in lines if line.startswith("answer ")).split()[1])


def as_row(turns: Turns | Failure, base: Turns | Failure | None, ratio: str) -> dict[str, Any]:
    """Figures of a table's row: the time, and under the name `ratio` how many times the base's."""
    if isinstance(turns, Failure):
        return {"failed": turns.reason}
    row = {"ms": 1000 * turns.seconds, "spread, %": 100 * turns.spread}
    if isinstance(base, Turns):
        row[ratio] = turns.seconds / base.seconds
    return row


def threads_of_machine() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
