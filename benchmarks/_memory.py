"""Memory of this process, as Linux tells it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

# Memory that is freed goes back to the system at once, or a rise would not show. Steps take up to
# twice as long: in processes with this in their environment time is not measured.
EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536"}

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def rise(step: Callable[[], Any]) -> float:
    """By how many MiB memory rose at most while something ran."""
    _CLEAR.write_text("5")  # the peak starts at what is in memory now
    before = _mebibytes("VmRSS")
    step()
    return max(peak() - before, 0.0)


def peak() -> float:
    """The most MiB that were in memory, since the process or the last `rise` began."""
    return _mebibytes("VmHWM")


def _mebibytes(name: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
