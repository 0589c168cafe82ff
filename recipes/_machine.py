"""What figures are measured on."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

PROCESSORS = Path("/proc/cpuinfo")


def described() -> str:
    """Cores, processor and accelerator."""
    return f"{_cores()}, {platform.machine()}, {accelerator() or 'no accelerator used'}"


def accelerator() -> str | None:
    """Name of this machine's first GPU, as its driver's program tells it; None without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    asked = [program, "--query-gpu=name", "--format=csv,noheader"]
    names = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
    return names[0].strip() if names else None


def computes_in_bfloat16() -> bool:
    """Whether there is a GPU, or a processor with units for bfloat16; true where unknown."""
    try:
        flags = PROCESSORS.read_text(encoding="utf-8").split()
    except OSError:
        return True
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags) or accelerator() is not None


def _cores() -> str:
    # Those that this process may run on, where the system tells.
    allowed = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    return f"{len(allowed)} core{'s' if len(allowed) > 1 else ''}"
