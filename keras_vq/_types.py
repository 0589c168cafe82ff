"""Type aliases for tensors, shapes and search functions."""

from collections.abc import Callable
from typing import Any

Tensor = Any
"""A tensor of the running backend, or what it accepts in place of one (a NumPy array)."""

Shape = tuple[int | None, ...]
"""A static shape; None marks a dimension known only at run time."""

Search = Callable[[Tensor, Tensor], Tensor]
"""Maps vectors `(..., dim)` and code vectors `(codebook_size, dim)` to int32 codes `(...)`."""
