"""Worker process of a benchmark: builds one contender and runs steps on request.

    python -m benchmarks._worker '{"of": "quantizer", "contender": "ours", ...}'

Requests are lines on standard input: `prepare` builds the contender and runs its first steps, `run`
runs a turn and returns seconds per step, `memory` returns the rise and the peak of memory in MiB.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import _memory

_LEAST_SECONDS_OF_A_TURN = 0.3
Step = Callable[[], Any]


def main(task: dict[str, Any]) -> None:
    """Handles requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Keeps library output out of the responses.
    made = importlib.import_module(f"benchmarks.{task.pop('of')}")
    step: Step
    for line in sys.stdin:
        asked, answer = line.strip(), None
        if asked == "prepare":
            step = made.make(**task)
            for _ in range(2):  # The first step compiles.
                step()
            answer = True
        elif asked == "run":
            answer = _turn(step)
        elif asked == "memory":
            answer = [_memory.rise(step), _memory.peak()]
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _turn(step: Step) -> float:
    steps, began = 0, time.perf_counter()
    while not steps or time.perf_counter() - began < _LEAST_SECONDS_OF_A_TURN:
        step()
        steps += 1
    return (time.perf_counter() - began) / steps


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
