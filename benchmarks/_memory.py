"""Memory of this process, as Linux tells it."""

from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident() -> float:
    """MiB in memory now."""
    return _mebibytes("VmRSS")


def peak() -> float:
    """The most MiB that were in memory since `forget_peak`."""
    return _mebibytes("VmHWM")


def forget_peak() -> None:
    """Starts the next peak at what is in memory now."""
    _CLEAR.write_text("5")


def _mebibytes(name: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
