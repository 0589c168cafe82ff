"""Description of the machine that figures are measured on."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

PROCESSORS = Path("/proc/cpuinfo")


def described() -> str:
    """Returns the number of cores, the processor and the accelerator."""
    return f"{_cores()}, {platform.machine()}, {accelerator() or 'no accelerator used'}"


def accelerator() -> str | None:
    """Returns the name of the first GPU from the driver tool, or None."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    asked = [program, "--query-gpu=name", "--format=csv,noheader"]
    names = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
    return names[0].strip() if names else None


def computes_in_bfloat16() -> bool:
    """Returns whether the hardware supports bfloat16 natively; True if unknown."""
    try:
        flags = PROCESSORS.read_text(encoding="utf-8").split()
    except OSError:
        return True
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags) or accelerator() is not None


def _cores() -> str:
    # Cores that this process may use, if the system reports them.
    allowed = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    return f"{len(allowed)} core{'s' if len(allowed) > 1 else ''}"
