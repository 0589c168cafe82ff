"""Type aliases for tensors, shapes and search functions."""

from collections.abc import Callable
from typing import Any

Tensor = Any
"""A tensor of the running backend, or what it accepts in place of one (a NumPy array)."""

Shape = tuple[int | None, ...]
"""A static shape; None marks a dimension known only at run time."""

Search = Callable[[Tensor, Tensor], Tensor]
"""Finds for vectors `(..., dim)` and codes `(codebook_size, dim)` an int32 index of each vector."""
