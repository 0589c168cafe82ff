"""Resident memory of this process on Linux."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

# Freed memory is returned to the system at once; otherwise a rise would not show. Steps take up to
# twice as long, so processes with this setting do not measure time.
EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536"}

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def rise(step: Callable[[], Any]) -> float:
    """Returns the peak rise of the resident memory during a function call, in MiB."""
    _CLEAR.write_text("5")  # Resets the peak to the current value.
    before = _mebibytes("VmRSS")
    step()
    return max(peak() - before, 0.0)


def peak() -> float:
    """Returns the peak resident memory since the process or the last `rise` started, in MiB."""
    return _mebibytes("VmHWM")


def _mebibytes(name: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
