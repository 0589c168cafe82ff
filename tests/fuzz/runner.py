"""Child process of the fuzzer, which runs and measures the cases of one target."""

import argparse
import collections
import json
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.table import new_target
from tests.fuzz.targets.base import SilentlyWrong, Target

# Hard limits: address space in addition to that of the imports, and seconds per case.
_BACKSTOP_BYTES = 4 << 30
_BACKSTOP_SECONDS = 30.0
_MOST_FINDINGS = 20
_STATUS = Path("/proc/self/status")


class TooLong(BaseException):
    """Exception raised in a case that exceeds the hard time limit."""


def rng_of_case(seed: int, name: str, number: int) -> np.random.Generator:
    """Returns the random generator of a case, so that each case can be repeated alone."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), number])


class Runner:
    """Runs cases of one target and collects the findings.

    Args:
        name: Name of the target.
        target: The target.
        seed: Seed of all cases.
    """

    def __init__(self, name: str, target: Target, seed: int) -> None:
        self.name, self.target, self.seed = name, target, seed
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.findings: list[dict[str, Any]] = []
        self.count_of_findings: collections.Counter[str] = collections.Counter()
        self.slowest = self.largest = 0.0

    def run(self, number: int) -> None:
        """Runs one case."""
        case = self.target.make(rng_of_case(self.seed, self.name, number))
        outcome, finding, detail = "", "", ""
        before = _reset_peak()
        signal.setitimer(signal.ITIMER_REAL, _BACKSTOP_SECONDS)
        # CPU time, which does not depend on other programs.
        start = time.process_time()
        try:
            outcome = self.target.run(case)
        except SilentlyWrong as error:
            finding, detail = "silently wrong", str(error)
        except TooLong:
            finding = f"stopped after {_BACKSTOP_SECONDS:g} s"
        except Exception as error:
            if self.target.is_documented(error):
                outcome = type(error).__name__
            else:
                finding = type(error).__name__
                detail = "".join(traceback.format_exception(error)[-6:])[-3000:]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        seconds, megabytes = time.process_time() - start, (_peak() - before) / 1e6
        self.slowest = max(self.slowest, seconds)
        self.largest = max(self.largest, megabytes)
        self.outcomes[f"{self.target.kind(case)}: {outcome or finding}"] += 1
        if not finding and seconds > self.target.seconds:
            finding = f"over {self.target.seconds:g} s"
        if not finding and megabytes > self.target.megabytes:
            finding = f"over {self.target.megabytes:g} MB"
        if finding:
            self.count_of_findings[finding] += 1
            if len(self.findings) < _MOST_FINDINGS:
                place = {"case": number, "seconds": seconds, "megabytes": megabytes}
                self.findings.append({"finding": finding, "detail": detail, **place})

    def report(self) -> dict[str, Any]:
        """Returns all counts as JSON values."""
        return {
            "outcomes": dict(self.outcomes.most_common()),
            "findings": self.findings,
            "count_of_findings": dict(self.count_of_findings),
            "slowest": self.slowest,
            "largest": self.largest,
        }


def main(argv: list[str] | None = None) -> None:
    """Runs a range of cases and writes the report to a file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    for option in ("--seed", "--start", "--stop"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--progress", type=Path, required=True)
    options = parser.parse_args(argv)
    signal.signal(signal.SIGALRM, _stop)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = new_target(options.name, Path(folder))
        _limit_memory()
        runner = Runner(options.name, target, options.seed)
        for number in range(options.start, options.stop):
            # After a crash, the parent reads the number of the case.
            options.progress.write_text(str(number))
            runner.run(number)
            if number % 500 == 499:
                options.report.write_text(json.dumps(runner.report()))
    options.report.write_text(json.dumps(runner.report()))


def _stop(*_: Any) -> None:
    raise TooLong


def _limit_memory() -> None:
    used = _status("VmSize")
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if used:
        resource.setrlimit(resource.RLIMIT_AS, (used + _BACKSTOP_BYTES, hard))


def _reset_peak() -> int:
    """Resets the peak resident memory to its current value, and returns it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        # Not Linux: only cases with a new peak of the process are measured.
        return _peak()
    return _status("VmRSS")


def _peak() -> int:
    if _STATUS.exists():
        return _status("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status(key: str) -> int:
    """Returns a field of the process status in bytes, or 0 if it is missing."""
    if not _STATUS.exists():
        return 0
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
