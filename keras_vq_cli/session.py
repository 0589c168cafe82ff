"""Global options of the running command."""

from __future__ import annotations

import dataclasses

import click

BACKENDS = ("tensorflow", "jax", "torch")


@dataclasses.dataclass
class Session:
    """Arguments of the process, and values of the global options."""

    arguments: list[str] = dataclasses.field(default_factory=list)
    quiet: bool = False
    verbose: bool = False
    json: bool = False
    backend: str | None = None


def current() -> Session:
    """Returns the global options of the running command, or their defaults outside of one."""
    context = click.get_current_context(silent=True)
    return Session() if context is None else context.ensure_object(Session)
