"""Interleaved measurement (A B A B) of contenders in separate processes.

Disturbances of the machine then affect all contenders alike, and the thread pools of their
libraries do not interfere. Waiting processes are idle.
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
    """Memory of a step in MiB."""

    rise: float  # rise of the resident memory
    peak: float  # peak of the process


class Turns(NamedTuple):
    """Timings of a contender."""

    seconds: float  # median over turns of the mean step time
    spread: float  # interquartile range divided by the median
    memory: Memory | None = None


class Failure(NamedTuple):
    """Reason why a contender has no result."""

    reason: str


def environment(backend: str | None, threads: int) -> dict[str, str]:
    """Returns the environment of a process with a Keras backend and a thread limit."""
    count = str(threads)
    return {
        **os.environ,
        "KERAS_BACKEND": backend or "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "TF_NUM_INTRAOP_THREADS": count,
        "TF_NUM_INTEROP_THREADS": "1",
        # Keep bytecode, as in a pip installation.
        "PYTHONDONTWRITEBYTECODE": "",
    }


class Worker:
    """Process that runs steps of one contender on request."""

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
        """Sends a request and returns the response; None if the process ended."""
        try:
            self.process.stdin.write(f"{what}\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            return None

    def last_words(self) -> str:
        """Returns the last error output of the process."""
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
    """Measures contenders in interleaved turns.

    Args:
        contenders: Dictionary of names to the task of `_worker.py` and the Keras backend.
        rounds: Integer. Number of turns per contender.
        threads: Integer. Number of cores and of threads per library.
        with_memory: Boolean. Whether to measure memory too, in a new process per contender.
        processes: Dictionary of names to the number of processes. Defaults to 1.
        environments: Dictionary of names to additional environment variables.

    Returns:
        Dictionary of names to `Turns` or `Failure`.
    """
    found: dict[str, Turns | Failure] = {}
    with ExitStack() as stack:
        workers: dict[str, list[Worker]] = {}
        for name, (task, backend) in contenders.items():
            for _ in range((processes or {}).get(name, 1)):
                more = (environments or {}).get(name)
                worker = stack.enter_context(Worker(task, backend, threads, more))
                # Start sequentially: concurrent compilation needs more memory.
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
    # Resident memory does not include GPU memory.
    if with_memory and accelerator() is None:
        for name, turns in found.items():
            if isinstance(turns, Turns):
                found[name] = turns._replace(memory=_memory_of(*contenders[name], threads))
    return {name: found[name] for name in contenders}


def _memory_of(task: Mapping[str, Any], backend: str | None, threads: int) -> Memory | None:
    """Measures the memory of a step in a new process; returns None if it ended."""
    with Worker(task, backend, threads, _memory.EXACT) as worker:
        worker.asked("prepare")
        memory = worker.asked("memory")
        return None if memory is None else Memory(*memory)


def answer(expression: str, backend: str, threads: int) -> float:
    """Evaluates a numeric expression of the `benchmarks` modules on a Keras backend."""
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
    """Returns a table row with the time and its ratio to the base contender."""
    if isinstance(turns, Failure):
        return {"failed": turns.reason}
    row = {"ms": 1000 * turns.seconds, "spread, %": 100 * turns.spread}
    if isinstance(base, Turns):
        row[ratio] = turns.seconds / base.seconds
    return row


def threads_of_machine() -> int:
    """Returns the number of cores available to this process."""
    return len(os.sched_getaffinity(0))
