"""Fuzzing command: `python -m tests.fuzz [--target NAME] [--cases N] [--seed S]`.

The exit code is 1 after a wrong result without an error, an undocumented error, a case over its
time or memory limit, or a crashed process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.fuzz.table import TARGETS, target_class

# Time without a new case after which a process is killed.
_SILENT_SECONDS = 180.0
_MOST_DEATHS = 10


def main(argv: list[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        0 without findings, else 1.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Reads mutated files as a user would."
    )
    parser.add_argument("--target", choices=TARGETS, action="append", help="default: all")
    parser.add_argument("--cases", type=int, help="cases of each target (default: its own budget)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--case", type=int, help="repeat one case")
    options = parser.parse_args(argv)
    failed = 0
    for name in options.target or TARGETS:
        cases = target_class(name).cases if options.cases is None else options.cases
        start, stop = (0, cases) if options.case is None else (options.case, options.case + 1)
        print(f"{name}: {stop - start:,} cases, --seed {options.seed}", flush=True)
        failed += not fuzz(name, options.seed, start, stop)
    return 1 if failed else 0


def fuzz(name: str, seed: int, start: int, stop: int) -> bool:
    """Runs a range of cases of one target in child processes and prints the outcomes.

    Returns:
        True without findings.
    """
    began, found, deaths = time.monotonic(), False, 0
    while start < stop:
        report, died_at, how = _run(name, seed, start, stop)
        _show(report)
        found = found or bool(report.get("count_of_findings"))
        if died_at is None:
            break
        deaths += 1
        print(f"  FOUND: the process died ({how}): --target {name} --seed {seed} --case {died_at}")
        if deaths >= _MOST_DEATHS:
            print("  FOUND: too many processes died; the rest is left out")
            break
        start = died_at + 1
    print(f"  {time.monotonic() - began:.0f} s, {'findings' if found or deaths else 'no finding'}")
    return not found and not deaths


def _run(name: str, seed: int, start: int, stop: int) -> tuple[dict[str, Any], int | None, str]:
    """Runs cases in one process and returns its report, the crashing case and the cause."""
    with tempfile.TemporaryDirectory() as folder:
        report, progress = Path(folder, "report.json"), Path(folder, "progress")
        command = [sys.executable, "-m", "tests.fuzz.runner", name, f"--seed={seed}"]
        command += [f"--start={start}", f"--stop={stop}"]
        command += [f"--report={report}", f"--progress={progress}"]
        # The package prints progress bars to standard output.
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        reached, since = "", time.monotonic()
        code = None
        while code is None:
            try:
                code = process.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                now = progress.read_text() if progress.exists() else ""
                if now != reached:
                    reached, since = now, time.monotonic()
                elif time.monotonic() - since > _SILENT_SECONDS:
                    process.kill()
        content = json.loads(report.read_text()) if report.exists() else {}
        if code == 0:
            return content, None, ""
        number = progress.read_text() if progress.exists() else ""
        if not number:
            raise RuntimeError(f"The target {name} could not be set up (exit code {code})")
        return content, int(number), f"exit code {code}"


def _show(report: dict[str, Any]) -> None:
    for outcome, count in sorted(report.get("outcomes", {}).items()):
        print(f"  {count:>9,}  {outcome}")
    print(
        f"  slowest {report.get('slowest', 0):.2f} s, "
        f"largest growth of memory {report.get('largest', 0):.0f} MB"
    )
    for finding, count in report.get("count_of_findings", {}).items():
        print(f"  FOUND: {count:,} x {finding}")
    for finding in report.get("findings", ()):
        print(
            f"    --case {finding['case']}: {finding['finding']}, {finding['seconds']:.2f} s, "
            f"{finding['megabytes']:.0f} MB"
        )
        for line in finding["detail"].splitlines():
            print(f"      {line}")


if __name__ == "__main__":
    sys.exit(main())
