"""The names that type hints use for what Keras leaves untyped."""

from typing import Any

Tensor = Any
"""A tensor of the running backend, or what it accepts in place of one (a NumPy array)."""

Shape = tuple[int | None, ...]
"""A static shape; None marks a dimension known only at run time."""
